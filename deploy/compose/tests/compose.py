"""Reads a compose file as Docker Compose does, as far as ours goes; what it does not understand it refuses."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

# What a service may say here. A key that is new to the file must be understood by what starts it before it may stand there.
KNOWN = {
    "image", "build", "deploy", "restart", "stop_grace_period", "environment", "read_only", "cap_drop", "security_opt", "ulimits",
    "depends_on", "env_file", "networks", "command", "volumes", "healthcheck", "ports", "profiles", "sysctls", "secrets",
}
VARIABLE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)(?:(:?[-?])([^}]*))?\})")


class Refused(Exception):
    """The file says something that cannot be carried out."""


@dataclass
class Healthcheck:
    """How it is found out whether a container is well."""

    test: list
    interval: float = 30
    timeout: float = 30
    retries: int = 3
    start_period: float = 0
    start_interval: float = 5


@dataclass
class Mount:
    """A file, a folder or a named volume in a container."""

    target: str
    source: Path | None = None
    volume: str | None = None
    read_only: bool = False


@dataclass
class Service:
    """What stands below `services`."""

    name: str
    image: str
    dockerfile: Path | None
    command: list | None
    environment: dict
    replicas: int
    restart: str
    grace: float
    read_only: bool
    no_new_privileges: bool
    drop_all: bool
    limits: dict
    sysctls: dict
    networks: list
    mounts: list
    ports: list
    needs: dict
    profiles: list
    healthcheck: Healthcheck | None = None


@dataclass
class Network:
    """What stands below `networks`."""

    name: str
    internal: bool = False
    subnet: str | None = None


@dataclass
class Project:
    """The whole file."""

    name: str
    services: dict = field(default_factory=dict)
    networks: dict = field(default_factory=dict)


def seconds(text):
    """A duration, as in 1m30s or 500ms."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", str(text))
    if "".join(number + unit for number, unit in parts) != str(text):
        raise Refused(f"{text!r} is no duration")
    return sum(float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit] for number, unit in parts)


def interpolate(value, variables):
    """Fills in variables of the environment, in all texts."""
    if isinstance(value, dict):
        return {key: interpolate(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, variables) for item in value]
    if not isinstance(value, str):
        return value

    def fill(match):
        name = match[1] or match[2]
        if name is None:
            return "$"
        given = variables.get(name)
        missing = given is None or ((match[3] or "").startswith(":") and given == "")
        if missing and (match[3] or "").endswith("?"):
            raise Refused(f"{name}: {match[4]}")
        if missing:
            return match[4] or ""
        return given

    return VARIABLE.sub(fill, value)


def only(what, mapping, *known):
    """Refuses keys that nobody here understands."""
    unknown = set(mapping) - set(known)
    if unknown:
        raise Refused(f"{what}: nobody here understands {', '.join(sorted(unknown))}")


def read(path, variables, dotenv=None):
    """The project in a file; `variables` is what the shell and .env set, and `dotenv` what .env itself has, if there is one."""
    path = Path(path)
    text = yaml.safe_load(path.read_text())
    only("the file", text, "name", "services", "networks", "volumes", "secrets")
    text = interpolate(text, variables)
    project = Project(text["name"])
    for name, said in text["networks"].items():
        only(f"networks.{name}", said, "internal", "ipam")
        subnet = said["ipam"]["config"][0]["subnet"] if "ipam" in said else None
        project.networks[name] = Network(name, said.get("internal", False), subnet)
    secrets = {}
    for name, said in text.get("secrets", {}).items():
        only(f"secrets.{name}", said, "file")
        secrets[name] = (path.parent / said["file"]).resolve()
    for name, said in text["services"].items():
        project.services[name] = service(name, said, path.parent, set(text.get("volumes", {})), secrets, dotenv)
        for network in project.services[name].networks:
            if network not in project.networks:
                raise Refused(f"{name}: there is no network {network}")
        for needed in project.services[name].needs:
            if needed not in text["services"]:
                raise Refused(f"{name}: there is no service {needed}")
    return project


def service(name, said, folder, volumes, secrets, dotenv):
    """One service; paths are relative to the file's folder."""
    only(name, said, *KNOWN)
    only(f"{name}.deploy", said.get("deploy", {}), "replicas")
    only(f"{name}.build", said.get("build", {}), "context", "dockerfile")
    only(f"{name}.ulimits", said.get("ulimits", {}), "nofile")
    dockerfile = None
    if "build" in said:
        dockerfile = (folder / said["build"]["context"] / said["build"]["dockerfile"]).resolve()
        if not dockerfile.is_file():
            raise Refused(f"{name}: there is no {dockerfile}")
    if said.get("cap_drop", ["ALL"]) != ["ALL"] or said.get("security_opt", ["no-new-privileges:true"]) != ["no-new-privileges:true"]:
        raise Refused(f"{name}: nobody here understands its cap_drop or security_opt")
    environment = {}
    for file in said.get("env_file", []):
        only(f"{name}.env_file", file, "path", "required")
        if file["path"] != ".env" or (file.get("required", True) and dotenv is None):
            raise Refused(f"{name}: there is no {file['path']}")
        environment.update(dotenv or {})
    for key, value in said.get("environment", {}).items():
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise Refused(f"{name}.environment.{key}: {value!r} is no text")
        environment[key] = str(value)
    needs = {needed: how["condition"] for needed, how in said.get("depends_on", {}).items()}
    return Service(
        name=name,
        image=said["image"],
        dockerfile=dockerfile,
        command=said.get("command"),
        environment=environment,
        replicas=int(said.get("deploy", {}).get("replicas", 1)),
        restart=said["restart"],
        grace=seconds(said.get("stop_grace_period", "10s")),
        read_only=said.get("read_only", False),
        no_new_privileges="security_opt" in said,
        drop_all="cap_drop" in said,
        limits=said.get("ulimits", {}),
        sysctls=said.get("sysctls", {}),
        networks=said["networks"],
        mounts=[mount(name, text, folder, volumes) for text in said.get("volumes", [])]
        + [secret(name, entry, secrets) for entry in said.get("secrets", [])],
        ports=[port(name, text) for text in said.get("ports", [])],
        needs=needs,
        profiles=said.get("profiles", []),
        healthcheck=healthcheck(name, said["healthcheck"]) if "healthcheck" in said else None,
    )


def mount(name, text, folder, volumes):
    """A line of `volumes`: source:target, and perhaps :ro."""
    source, target, *more = text.split(":")
    if more not in ([], ["ro"]):
        raise Refused(f"{name}: {text!r}")
    if source in volumes:
        return Mount(target, volume=source, read_only=bool(more))
    path = (folder / source).resolve()
    if not source.startswith(".") or not path.exists():
        raise Refused(f"{name}: there is no {path}")
    return Mount(target, source=path, read_only=bool(more))


def secret(name, entry, secrets):
    """A secret is a file in /run/secrets."""
    if entry not in secrets:
        raise Refused(f"{name}: there is no secret {entry}")
    if not secrets[entry].is_file():
        raise Refused(f"{name}: there is no {secrets[entry]}")
    return Mount(f"/run/secrets/{entry}", source=secrets[entry], read_only=True)


def port(name, text):
    """A published port: perhaps an address, the port outside, the port inside."""
    *address, outside, inside = text.split(":")
    if len(address) > 1:
        raise Refused(f"{name}: {text!r}")
    return (address[0] if address else "0.0.0.0", int(outside), int(inside))


def healthcheck(name, said):
    """A check of the file, with Docker's defaults."""
    only(f"{name}.healthcheck", said, "test", "interval", "timeout", "retries", "start_period", "start_interval")
    durations = {key: seconds(value) for key, value in said.items() if key not in ("test", "retries")}
    return Healthcheck(said["test"], retries=said.get("retries", 3), **durations)
