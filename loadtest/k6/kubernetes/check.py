#!/usr/bin/env python3
"""Checks the TestRun: by what k6-operator takes, by Kubernetes' schemas, and by running k6 on the folder that its pods will have.

Needs kubectl or kustomize, k6 (.tools/bin), kubernetes-validate and jsonschema. Prints what failed and, as the last line,
"N passed, N failed"; exits with 1 if anything failed.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / ".ci"))

import jsonschema
import kubernetes_validate
import yaml

import checks
from checks import check

K6 = Path(__file__).resolve().parents[1]
TOOLS = K6.parents[1] / ".tools" / "bin"
# As in the chart's tests: the oldest Kubernetes that is supported, and the newest whose schemas there are.
VERSIONS = ("1.30.0", "1.37.0")
UID = 12345  # of the image's user

TEXT, WHOLE, FLAG = {"type": "string"}, {"type": "integer", "minimum": 1}, {"type": "boolean"}
# What a pod of a TestRun has, beside what it takes over from Kubernetes' own pods and containers.
OF_POD = ("affinity", "imagePullSecrets", "nodeSelector", "securityContext", "serviceAccountName", "tolerations", "volumes")
OF_CONTAINER = ("env", "envFrom", "image", "imagePullPolicy", "resources", "volumeMounts")
POD = {
    "type": "object",
    "additionalProperties": False,
    "required": ["containerSecurityContext", "securityContext"],
    "properties": {
        **{key: {} for key in OF_POD + OF_CONTAINER},
        "automountServiceAccountToken": {"enum": ["true", "false"]},
        "containerSecurityContext": {"type": "object"},
    },
}


def closed(required, **properties):
    """An object with these fields and no others."""
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


# The fields of k6.io/v1alpha1 that a load test here may use, as k6-operator 1.x reads them.
TEST_RUN = closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "k6.io/v1alpha1"},
    kind={"const": "TestRun"},
    metadata={"type": "object"},
    spec=closed(
        ["parallelism", "script", "runner", "initializer", "starter"],
        parallelism=WHOLE,
        separate=FLAG,
        quiet={"enum": ["true", "false"]},
        cleanup={"const": "post"},
        arguments=TEXT,
        script=closed(["localFile"], localFile=TEXT),
        runner=POD,
        initializer=POD,
        starter=POD,
    ),
)


def valid(what, validate):
    """That a schema has nothing against it."""
    try:
        validate()
        check(True, what)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        check(False, f"{what}: {'.'.join(map(str, error.absolute_path))}: {error.message}")


def tool(name):
    """A program of .tools, or of PATH."""
    found = TOOLS / name
    return str(found) if found.exists() else shutil.which(name)


def pod(name, spec):
    """What the operator makes of one of its pods."""
    container = {key: spec[key] for key in OF_CONTAINER if key in spec}
    container.update(name="k6", image=spec.get("image", "k6"), securityContext=spec["containerSecurityContext"])
    made = {key: spec[key] for key in OF_POD if key in spec}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {**made, "restartPolicy": "Never", "containers": [container]},
    }


def is_restricted(made):
    """The pod security standard `restricted`, as far as it concerns these pods."""
    security, container = made["spec"]["securityContext"], made["spec"]["containers"][0]["securityContext"]
    return (
        security.get("runAsNonRoot") is True
        and security.get("runAsUser") == UID
        and security.get("seccompProfile") == {"type": "RuntimeDefault"}
        and container.get("allowPrivilegeEscalation") is False
        and container.get("readOnlyRootFilesystem") is True
        and container.get("capabilities") == {"drop": ["ALL"]}
    )


def mount(spec, data, folder):
    """Lays out the scripts as the pod will find them."""
    volume = next(volume for volume in spec["volumes"] if "configMap" in volume)
    at = next(one["mountPath"] for one in spec["volumeMounts"] if one["name"] == volume["name"])
    for item in volume["configMap"]["items"]:
        path = folder / at.lstrip("/") / item["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data[item["key"]])
    return folder / at.lstrip("/")


def inspect(script, environment):
    """The options that k6 would run with, or what it says."""
    ended = subprocess.run(
        [tool("k6"), "inspect", "--execution-requirements", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment},
    )
    return (json.loads(ended.stdout), "") if ended.returncode == 0 else (None, ended.stderr)


def main():
    kubectl = tool("kubectl")
    build = [kubectl, "kustomize", K6] if kubectl else [tool("kustomize"), "build", K6]
    items = list(yaml.safe_load_all(subprocess.run(build, capture_output=True, text=True, timeout=60, check=True).stdout))
    run = next(item for item in items if item["kind"] == "TestRun")
    scripts = next(item for item in items if item["kind"] == "ConfigMap")
    spec = run["spec"]

    valid("the TestRun", lambda: jsonschema.Draft202012Validator(TEST_RUN).validate(run))
    for version in VERSIONS:
        valid(f"the ConfigMap in {version}", lambda: kubernetes_validate.validate(scripts, version, strict=True))
        for name in ("runner", "initializer", "starter"):
            made = pod(name, spec[name])
            valid(f"the {name} in {version}", lambda: kubernetes_validate.validate(made, version, strict=True))
    for name in ("runner", "initializer", "starter"):
        check(is_restricted(pod(name, spec[name])), f"the {name} is not what the pod security standard restricted asks for")
    check(len(json.dumps(scripts)) < 1_000_000, "the ConfigMap is larger than Kubernetes takes")
    check(spec["runner"] == spec["initializer"], "runner and initializer differ, so they may come to different options")

    there = {str(path.relative_to(K6)) for path in (*K6.glob("*.js"), *K6.glob("lib/*.js"))}
    with tempfile.TemporaryDirectory() as temporary:
        folder = mount(spec["runner"], scripts["data"], Path(temporary))
        found = {str(path.relative_to(folder)) for path in folder.rglob("*.js")}
        check(found == there, f"scripts that pods lack or should not have: {sorted(found ^ there)}")
        environment = {one["name"]: one["value"] for one in spec["runner"]["env"] if "value" in one}
        check(environment["PARTS"] == str(spec["parallelism"]), "PARTS is not parallelism")
        options, said = inspect(Path(temporary) / spec["script"]["localFile"].lstrip("/"), environment)
        check(options is not None, f"k6 inspect: {said}")
        check(options and options["maxVUs"] == int(environment["VUS"]), "k6 would run with other virtual users than VUS")
        for script in sorted(folder.glob("*.js")):
            mine = {**environment, "ADMIN_URL": "http://node:9100"}
            options, said = inspect(script, mine)
            check(options is not None, f"{script.name} does not load in a pod: {said}")

    checks.close()


if __name__ == "__main__":
    main()
