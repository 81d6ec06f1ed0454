"""What the images of the compose file bring along, and where their programs are on this machine."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from compose import Healthcheck, Refused, seconds

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Image:
    """As whom and how a container starts, unless its service says otherwise."""

    entrypoint: list
    command: list
    user: int
    group: int
    environment: dict = field(default_factory=dict)
    healthcheck: Healthcheck | None = None
    stop_signal: str = "SIGTERM"
    # Files of this machine that stand for the image's own, by their paths in there.
    files: dict = field(default_factory=dict)
    # The program that must be here; the image has it itself.
    needs: str | None = None


# The images of others, by their names without versions, and what is written in them. The programs are those of this machine: it is
# our settings that are tried, not their builds.
OTHERS = {
    "redis": Image([], ["redis-server"], 999, 1000, needs="redis-server"),
    "haproxy": Image([], ["haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg"], 99, 99, needs="haproxy"),
    "prom/prometheus": Image(["/bin/prometheus"], [], 65534, 65534, needs="prometheus"),
    "grafana/grafana": Image(["/run.sh"], [], 472, 0, needs="grafana"),
    "grafana/k6": Image(["k6"], [], 12345, 12345, {"PATH": f"/opt/bin:{PATH}"}, needs="k6"),
}
# Given as it is, HAProxy's entry point adds these: a worker under a master.
HAPROXY = ["haproxy", "-W", "-db"]


def of(service, programs):
    """The image of a service; `programs` are files of this machine by the names of programs."""
    if service.dockerfile:
        image = ours(service.dockerfile)
        image.files = {image.entrypoint[0]: programs["gateway"]}
        return image
    name = service.image.rsplit(":", 1)[0]
    if name not in OTHERS:
        raise Refused(f"{service.name}: nobody here knows the image {name}")
    image = OTHERS[name]
    if name == "grafana/k6":
        image.files = {"/opt/bin/k6": programs["k6"]}
    return image


def arguments(service, image, command=None):
    """What is executed: the image's entry point with the service's command, or else the image's."""
    given = command if command is not None else service.command
    line = [str(part) for part in image.entrypoint + (image.command if given is None else given)]
    # Its entry point is a script that does this.
    if line[0] == "haproxy":
        line = HAPROXY + line[1:]
    return line


def ours(dockerfile):
    """The last stage of a Dockerfile."""
    text = re.sub(r"\\\n\s*", " ", Path(dockerfile).read_text())
    stage = re.split(r"^FROM .*$", text, flags=re.MULTILINE)[-1]
    lines = [line.split(None, 1) for line in stage.splitlines() if line.strip() and not line.startswith("#")]
    image = Image([], [], 0, 0, {"PATH": PATH})
    for instruction, rest in lines:
        if instruction == "ENTRYPOINT":
            image.entrypoint = json.loads(rest)
        elif instruction == "CMD":
            image.command = json.loads(rest)
        elif instruction == "USER":
            image.user, image.group = map(int, rest.split(":"))
        elif instruction == "ENV":
            image.environment.update(pair.split("=", 1) for pair in shlex.split(rest))
        elif instruction == "STOPSIGNAL":
            image.stop_signal = rest.strip()
        elif instruction == "HEALTHCHECK":
            options, test = rest.split("CMD", 1)
            said = {}
            for option in options.split():
                key, value = option.removeprefix("--").split("=")
                said[key.replace("-", "_")] = int(value) if key == "retries" else seconds(value)
            image.healthcheck = Healthcheck(["CMD", *json.loads(test)], **said)
    return image
