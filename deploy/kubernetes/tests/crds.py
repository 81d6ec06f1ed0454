#!/usr/bin/env python3
"""Writes crds/*.json anew: the schemas of objects that are not Kubernetes' own, from the Go modules of their projects.

Without descriptions, which are nine tenths of them, and with nothing allowed that they do not name. Needs Go and PyYAML.
"""

import json
import subprocess
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
# All three are under the Apache license 2.0.
SOURCES = {
    ("sigs.k8s.io/gateway-api", "v1.6.3"): ["config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"],
    ("github.com/prometheus-operator/prometheus-operator", "v0.85.0"): [
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ],
    ("github.com/kedacore/keda/v2", "v2.20.2"): ["config/crd/bases/keda.sh_scaledobjects.yaml"],
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


def main():
    for (module, version), paths in SOURCES.items():
        answer = subprocess.run(["go", "mod", "download", "-json", f"{module}@{version}"], capture_output=True, check=True)
        folder = Path(json.loads(answer.stdout)["Dir"])
        for path in paths:
            crd = yaml.safe_load((folder / path).read_text())
            for served in crd["spec"]["versions"]:
                if served["name"] not in ("v1", "v1alpha1"):
                    continue
                schema = strict(served["schema"]["openAPIV3Schema"])
                schema["properties"]["metadata"] = {"type": "object"}
                schema["$comment"] = f"{module}@{version} {path}"
                kind, group = crd["spec"]["names"]["kind"], crd["spec"]["group"]
                name = f"{group}-{served['name']}-{kind}.json".lower()
                (HERE / "crds" / name).write_text(json.dumps(schema, sort_keys=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
