#!/usr/bin/env python3
"""Writes what says how objects look that are not Kubernetes' own, from the Go modules of their projects.

    crds.py                crds/*.json anew, as schemas: without descriptions, which are nine tenths of them, and with nothing allowed
                           that they do not name
    crds.py --into FOLDER  the definitions as they are, for an API server

Needs Go, as GO or in PATH, and PyYAML.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
# All are under the Apache license 2.0.
SOURCES = {
    ("sigs.k8s.io/gateway-api", "v1.6.3"): ["config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"],
    ("github.com/prometheus-operator/prometheus-operator", "v0.85.0"): [
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ],
    ("github.com/kedacore/keda/v2", "v2.20.2"): ["config/crd/bases/keda.sh_scaledobjects.yaml"],
}


# What is only needed by an API server: what the examples' routes hang on, and what one kind of Gateway has of its own.
BESIDE = {
    ("sigs.k8s.io/gateway-api", "v1.6.3"): ["config/crd/standard/gateway.networking.k8s.io_gateways.yaml"],
    ("github.com/envoyproxy/gateway", "v1.9.1"): [
        "charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_backendtrafficpolicies.yaml"
    ],
}


def strict(schema):
    """A schema of a CRD as JSON Schema, that refuses what the API server would drop or refuse."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if key == "properties":
            kept[key] = {name: strict(property) for name, property in value.items()}
        elif key == "description" or key.startswith("x-kubernetes"):
            continue
        else:
            kept[key] = strict(value)
    if schema.get("x-kubernetes-int-or-string"):
        kept.pop("type", None)
    elif "properties" in kept and not schema.get("x-kubernetes-preserve-unknown-fields"):
        kept.setdefault("additionalProperties", False)
    return kept


def definitions(sources):
    """Each definition's file, and what it is from."""
    for (module, version), paths in sources.items():
        command = [os.environ.get("GO", "go"), "mod", "download", "-json", f"{module}@{version}"]
        # Beside no go.mod, which would have a say.
        with tempfile.TemporaryDirectory() as nowhere:
            answer = subprocess.run(command, capture_output=True, check=True, cwd=nowhere)
        for path in paths:
            yield Path(json.loads(answer.stdout)["Dir"], path), f"{module}@{version} {path}"


def as_schemas():
    """The schemas that renders are checked against."""
    for file, comment in definitions(SOURCES):
        crd = yaml.safe_load(file.read_text())
        for served in crd["spec"]["versions"]:
            if served["name"] not in ("v1", "v1alpha1"):
                continue
            schema = strict(served["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            schema["$comment"] = comment
            kind, group = crd["spec"]["names"]["kind"], crd["spec"]["group"]
            name = f"{group}-{served['name']}-{kind}.json".lower()
            (HERE / "crds" / name).write_text(json.dumps(schema, sort_keys=True, separators=(",", ":")) + "\n")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--into", type=Path, metavar="FOLDER")
    into = arguments.parse_args().into
    if into is None:
        as_schemas()
        return
    into.mkdir(parents=True, exist_ok=True)
    for sources in (SOURCES, BESIDE):
        for file, _ in definitions(sources):
            shutil.copyfile(file, into / file.name)


if __name__ == "__main__":
    main()
