#!/usr/bin/env python3
"""Renders the chart anew and checks what comes out: against golden files, schemas, the gateway itself, HAProxy, and itself.

    check.py            all of it
    check.py --write    writes the golden files, the chart's copies of what it shares, and the table of values in README.md first

Needs helm and kubectl or kustomize (.tools/bin), kubernetes-validate, and GATEWAY_BIN. Prints what failed and, as the last line,
"N passed, N failed"; exits with 1 if anything failed.
"""

import argparse
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / ".ci"))

import jsonschema
import kubernetes_validate
import yaml

import broken
import checks
import cluster
import objects as fit
from checks import check

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
DEPLOY = HERE.parent
CHART = DEPLOY / "chart"
GOLDEN = DEPLOY / "golden"
TOOLS = ROOT / ".tools" / "bin"
# The oldest Kubernetes that Chart.yaml admits, and the newest whose schemas there are.
VERSIONS = ("1.30.0", "1.37.0")
# Value sets and the releases that they are rendered as.
SETS = {
    "defaults": [("gateway", "defaults")],
    "production": [("gateway", "production")],
    "gateway-api-keda": [("gateway", "gateway-api-keda")],
    "haproxy": [("gateway", "haproxy")],
    "two-redis": [("gateway", "two-redis")],
    "two-releases": [("gateway", "defaults"), ("staging", "two-releases")],
}

# Values that the comment above them is about, too.
SHARED = {"podAnnotations", "extraVolumeMounts", "tolerations", "affinity", "autoscaling.maxReplicas", "monitoring.dashboardLabelValue"}


def tool(name):
    """A program of .tools, or of PATH."""
    found = TOOLS / name
    return str(found) if found.exists() else shutil.which(name)


def run(*command, **more):
    """Runs a program and returns how it ended, what it printed, and what it complained about."""
    more.setdefault("timeout", 60)
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, **more)
    return ended.returncode, ended.stdout, ended.stderr


def render(release, values, *more):
    """The chart as text."""
    return run(tool("helm"), "template", release, CHART, "--namespace", "realtime", "--values", values, *more)


def parsed(text):
    """The objects of a render."""
    return [item for item in yaml.safe_load_all(text) if item]


def golden(text):
    """A render without the alerts and dashboards, which are compared with where they come from."""
    kept = []
    for part in re.split(r"^---\n", text, flags=re.MULTILINE):
        if "\nkind: PrometheusRule\n" in part:
            part = part[: part.index("\nspec:")] + "\nspec: # the groups of that file\n"
        elif name := re.search(r"^  name: \S+-dashboard-([a-z-]+)$", part, flags=re.MULTILINE):
            part = part[: part.index("\ndata:")] + f"\ndata: # grafana/dashboards/{name[1]}.json\n"
        kept.append(part)
    return "---\n".join(kept)


def compare(path, text, write):
    """That a file holds what was rendered."""
    shown = path.relative_to(ROOT)
    if write:
        path.write_text(text)
    there = path.read_text() if path.exists() else ""
    difference = "".join(difflib.unified_diff(there.splitlines(True), text.splitlines(True), str(shown), "rendered"))
    check(there == text, f"{shown} is not what is rendered now; if it should be, `make kubernetes-golden`\n{difference}")


def check_files(write):
    """That the chart's copies are what they are copies of: alerts, dashboards, HAProxy's settings. Nobody edits them here."""
    copies = {CHART / "files/haproxy.cfg": ROOT / "deploy/compose/haproxy.cfg"}
    for kind, pattern in (("rules", "*.rules.yml"), ("dashboards", "*.json")):
        copies |= {CHART / "files" / kind / path.name: path for path in (ROOT / "grafana" / kind).glob(pattern)}
    for there in sorted(path for path in (CHART / "files").rglob("*") if path.is_file() and path not in copies):
        if write:
            there.unlink()
        check(write, f"{there.relative_to(ROOT)} is a copy of nothing; `make kubernetes-golden`")
    for copy, source in sorted(copies.items()):
        if write:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
        same = copy.exists() and copy.read_bytes() == source.read_bytes()
        check(same, f"{copy.relative_to(ROOT)} is not {source.relative_to(ROOT)}; `make kubernetes-golden`")


def check_schema(item):
    """One object against Kubernetes' schemas, or that of its project."""
    who = f"{item['kind']} {item['metadata']['name']}"
    group, _, version = item["apiVersion"].rpartition("/")
    own = HERE / "crds" / f"{group}-{version}-{item['kind']}.json".lower()
    try:
        if own.exists():
            jsonschema.Draft202012Validator(json.loads(own.read_text())).validate(item)
        else:
            for wanted in VERSIONS:
                kubernetes_validate.validate(item, wanted, strict=True)
        check(True, who)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        check(False, f"{who}: {'.'.join(map(str, error.absolute_path))}: {error.message}")
    except kubernetes_validate.SchemaNotFoundError as error:
        check(False, f"{who}: {error.message}")


def check_grafana(items):
    """That alerts and dashboards are those of grafana/, all of them."""
    rules = [item["spec"] for item in items if item["kind"] == "PrometheusRule"]
    if rules:
        sources = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "grafana/rules").glob("*.rules.yml"))]
        check(sorted(rules, key=str) == sorted(sources, key=str), "the PrometheusRules are not the rules of grafana/rules")
    boards = {}
    for item in items:
        if "grafana_dashboard" in item["metadata"]["labels"]:
            boards.update(item["data"])
            check(len(json.dumps(item)) < 250_000, f"{item['metadata']['name']} is more than kubectl apply can annotate")
    if boards:
        sources = {f"gateway-{path.name}": path for path in (ROOT / "grafana/dashboards").glob("*.json")}
        check(boards.keys() == sources.keys(), f"dashboards: {sorted(boards)} are not {sorted(sources)}")
        for name, text in boards.items():
            check(json.loads(text) == json.loads(sources[name].read_text()), f"{name} is not the one of grafana/")


def check_programs(items, folder):
    """What the pods read, by the programs that read it."""
    for item in items:
        data = item.get("data") or item.get("stringData") or {}
        if "gateway.toml" in data:
            (folder / "gateway.toml").write_text(data["gateway.toml"])
            component = "app.kubernetes.io/component"
            pod = next(pod for _, labels, pod in fit.templates(items) if labels[component] == "node")
            pod_ip = "fd00::7" if "[::]" in data["gateway.toml"] else "10.0.0.7"
            environment = {"GATEWAY_REDIS_URL": "redis://redis"}
            for name in tomllib.loads(data["gateway.toml"]).get("redis", {}).get("of", {}):
                environment[f"GATEWAY_REDIS__OF__{name.upper()}__URL"] = f"redis://{name}"
            for variable in pod["containers"][0]["env"]:
                environment[variable["name"]] = variable.get("value", "pod-1").replace("$(POD_IP)", pod_ip)
            code, out, said = run(os.environ["GATEWAY_BIN"], "check", "--config", folder / "gateway.toml", env=environment)
            check(code == 0, f"gateway check: {said}")
            address = f'"[{pod_ip}]:9100"' if ":" in pod_ip else f'"{pod_ip}:9100"'
            check(code != 0 or f"advertise = {address}" in out, f"admin.advertise is not {address}")
            drain = int(re.search(r'^timeout = "(\d+)s"', data["gateway.toml"], flags=re.MULTILINE)[1])
            sleep = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            grace = pod["terminationGracePeriodSeconds"]
            check(grace >= sleep + drain + 5, f"{grace} s of grace do not hold {sleep} s of preStop and {drain} s of drain")
        if "haproxy.cfg" in data:
            (folder / "haproxy.cfg").write_text(data["haproxy.cfg"])
            path = f"{os.environ['PATH']}:/usr/sbin"
            environment = {"PATH": path, "HAPROXY_COOKIE_KEY": "check"}
            code, _, said = run(shutil.which("haproxy", path=path), "-c", "-f", folder / "haproxy.cfg", env=environment)
            check(code == 0, f"haproxy -c: {said}")


def check_apart(name, releases):
    """That releases in one namespace do not meet: no name twice, and nobody selects pods of another."""
    names = [{(i["kind"], i["metadata"]["name"]) for i in items} for items in releases]
    check(not names[0] & names[1], f"{name}: both releases have {names[0] & names[1]}")
    for mine, others in (releases, releases[::-1]):
        for item in (i for i in mine if i["kind"] in fit.SELECTING):
            hit = [labels for _, labels, _ in fit.templates(others) if fit.matches(fit.selector(item), labels)]
            check(not hit, f"{name}: {item['kind']} {item['metadata']['name']} selects pods of the other release")
    rules = sum(any(i["kind"] == "PrometheusRule" for i in items) for items in releases)
    check(rules <= 1, f"{name}: {rules} releases have alerts, which would fire as often")


def check_package(folder):
    """That a packaged chart has all that the folder has."""
    code, _, said = run(tool("helm"), "package", CHART, "--destination", folder)
    check(code == 0, f"helm package: {said}")
    values = ["--values", DEPLOY / "examples/production.yaml", "--set", "haproxy.enabled=true,haproxy.cookieKeySecret=c"]
    _, here, _ = run(tool("helm"), "template", "gateway", CHART, *values)
    code, packaged, said = run(tool("helm"), "template", "gateway", next(folder.glob("gateway-*.tgz")), *values)
    check(code == 0 and packaged == here, f"the package renders something else than the folder: {said}")


def check_haproxy(folder):
    """That HAProxy is where its pods' addresses are, and lets in what its paths name and nothing else."""
    for ipv6, binds in (("false", {"bind :8080", "bind :8404"}), ("true", {"bind [::]:8080 v4v6", "bind [::]:8404 v4v6"})):
        code, text, said = render("gateway", DEPLOY / "examples/haproxy.yaml", "--set", f"ipv6={ipv6}")
        check(code == 0, f"HAProxy with ipv6={ipv6}: {said}")
        items = parsed(text)
        check_programs(items, folder)
        said = next(item["data"]["haproxy.cfg"] for item in items if "haproxy.cfg" in (item.get("data") or {}))
        check({line.strip() for line in said.splitlines() if "bind :" in line or "bind [" in line} == binds, f"with ipv6={ipv6} HAProxy does not {binds}")
    for paths, expected in (
        ("/socket.io/", {"/socket.io/?EIO=4": 503, "/socket.io": 503, "/socket.iox/": 404, "/": 404, "/api/v1/events": 404}),
        ("/socket.io/,/api", {"/api": 503, "/api/v1/events": 503, "/apis": 404, "/": 404}),
        ("/", {"/": 503, "/api/v1/events": 503}),
    ):
        _, text, _ = render("gateway", DEPLOY / "examples/haproxy.yaml", "--set", f"haproxy.paths={{{paths}}}")
        said = next(item["data"]["haproxy.cfg"] for item in parsed(text) if "haproxy.cfg" in (item.get("data") or {}))
        # 503 is that there is no node, whom it would have asked.
        with cluster.haproxy(said, folder) as ask:
            for path, status in expected.items():
                got = ask(path)
                check(got == status, f"HAProxy with the paths {paths} answers {path} with {got}, not {status}")


def check_keda():
    """That the autoscaler counts the pods of its own release, whatever the others are called."""
    for release in ("gateway", "gateway-" + "long" * 10 + "er"):
        code, text, said = render(release, DEPLOY / "examples/gateway-api-keda.yaml")
        check(code == 0, f"KEDA: {said}")
        scaled = next(item for item in parsed(text) if item["kind"] == "ScaledObject")
        query = scaled["spec"]["triggers"][0]["metadata"]["query"]
        pattern, name = re.search(r'pod=~"([^"]*)"', query)[1], scaled["metadata"]["name"]
        # A Deployment's pods are its name, a hash and five letters; Kubernetes cuts what comes before these off at 58.
        own, others = f"{name}-7d9f5b6c8d-"[:58] + "x2k4z", [f"{name}-{more}-7d9f5b6c8d-"[:58] + "x2k4z" for more in ("b", "haproxy", "staging")]
        check(re.fullmatch(pattern, own), f"{query} leaves out {own}")
        for other in others if release == "gateway" else []:
            check(not re.fullmatch(pattern, other), f"{query} counts {other}")


def check_live():
    """That switching autoscaling on or off in a release that runs leaves it as many pods as it has, and that missing kinds are told."""
    values = DEPLOY / "examples/defaults.yaml"
    asking = ["--dry-run=server", "--disable-openapi-validation", "--kubeconfig"]
    for there, expected in ((None, None), (7, 7), (1, 3)):
        with cluster.of(there) as address:
            code, text, said = render("gateway", values, "--set", "autoscaling.enabled=true", *asking, address)
        check(code == 0, f"with {there} pods: {said}")
        replicas = [item["spec"].get("replicas") for item in parsed(text) if item["kind"] == "Deployment"]
        check(replicas == [expected], f"of {there} pods autoscaling leaves {replicas}, not {expected}")
    for there, scaled, wanted in ((7, True, 3), (7, True, 7), (7, False, 3), (2, True, 3)):
        with cluster.of(there, scaled) as address:
            code, text, said = render("gateway", values, "--set", f"replicas={wanted}", *asking, address)
        if scaled and wanted < there:
            check(f"Set replicas to {there}" in said, f"switching off an autoscaler that has {there} pods is not refused: {said}")
        else:
            replicas = [item["spec"].get("replicas") for item in parsed(text) if item["kind"] == "Deployment"]
            check(replicas == [wanted], f"of {there} pods {replicas} are left, not {wanted}: {said}")
    with cluster.of(None) as address:
        code, _, said = render("gateway", values, "--set", "monitoring.podMonitor=true", *asking, address)
    check("this cluster has no PodMonitor" in said, f"a kind that a cluster does not have is not told: {said}")


def check_handshake():
    """That what `helm test` runs is content with a gateway, and with nothing else."""
    _, text, _ = render("gateway", DEPLOY / "examples/defaults.yaml")
    script = next(item["spec"]["containers"][0]["args"][0] for item in parsed(text) if item["kind"] == "Pod")
    for who, expected in ((cluster.gateway, 0), (cluster.stranger, 1)):
        with who() as port:
            check("//gateway:80/" in script, "the test asks somebody else than the Service")
            code, out, said = run("sh", "-c", script.replace("//gateway:80/", f"//127.0.0.1:{port}/"))
            check(code == expected, f"the test ends with {code} at a {who.__name__}: {out}{said}")


def check_notes():
    """That the notes say what to do next, and warn of what the values leave open."""
    def notes(values, *more):
        command = [tool("helm"), "install", "gateway", CHART, "--namespace", "realtime", "--dry-run=client"]
        code, out, said = run(*command, "--values", values, *more)
        check(code == 0, f"helm install --dry-run: {said}")
        return out.partition("NOTES:")[2]

    open_to_all = notes(DEPLOY / "examples/defaults.yaml", "--set", "service.type=LoadBalancer")
    plain, production = notes(DEPLOY / "examples/defaults.yaml"), notes(DEPLOY / "examples/production.yaml")
    for words in ("rollout status deployment/gateway", "helm test gateway", "port-forward service/gateway", "trustedProxies is empty"):
        check(words in plain, f"the notes do not say {words!r}")
    for words in ("service.type is LoadBalancer", "get service gateway "):
        check(words in open_to_all, f"the notes of a Service that takes clients do not say {words!r}")
    check("Nothing outside" not in open_to_all and "service.type" not in plain, "the notes say of a Service what it is not")
    check("https://realtime.example/socket.io/" in production, "the notes do not say where clients connect")
    check("trustedProxies is empty" not in production, "the notes warn of what is set")


def check_values(write):
    """That each value is explained, known to the schema, and in README's table."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    rows, path, said, fresh = [], [], "", False
    for number, line in enumerate((CHART / "values.yaml").read_text().splitlines(), 1):
        if line.strip().startswith("#"):
            said, fresh = (f"{said} " if fresh else "") + line.strip(" #"), True
        elif key := re.match(r"^( *)(\w+):(.*)$", line):
            path = path[: len(key[1]) // 2] + [key[2]]
            name, value = ".".join(path), key[3].strip()
            known, default = schema, defaults
            for part in path:
                known, default = known.get("properties", {}).get(part), default[part]
                if known is None or "additionalProperties" not in known:
                    break
            if "resources" in path[:-1]:
                continue
            check(known is not None, f"values.yaml:{number}: the schema has no {name}")
            check(fresh or value == "" or name in SHARED, f"values.yaml:{number}: {name} has no comment of its own")
            if value or path[-1] == "resources" or name == "networkPolicy.monitoring":
                rows.append((name, value or json.dumps(default), said))
            fresh = False

    def everything(values, known, at):
        for name, inner in known.get("properties", {}).items():
            here = f"{at}{name}"
            if here != "global" and name != "claims" and at != "httpRoute.timeouts.":
                check(name in values, f"values.yaml has no {here}, which the schema knows")
                if isinstance(values.get(name), dict):
                    everything(values[name], inner, f"{here}.")

    everything(defaults, schema, "")
    table = "\n".join(["| value | default | |", "|---|---|---|"] + [f"| `{a}` | `{b}` | {c} |" for a, b, c in rows])
    readme = (DEPLOY / "README.md").read_text()
    before, rest = readme.split("<!-- values -->\n", 1)
    compare(DEPLOY / "README.md", f"{before}<!-- values -->\n{table}\n{rest[rest.index('<!-- /values -->'):]}", write)


def check_kustomize(write):
    """The example over a rendered chart."""
    code, text, said = render("gateway", DEPLOY / "examples/defaults.yaml", "--skip-tests")
    check(code == 0, f"kustomize: {said}")
    compare(DEPLOY / "kustomize/base/gateway.yaml", text, write)
    command = [tool("kubectl"), "kustomize"] if tool("kubectl") else [tool("kustomize"), "build"]
    code, out, said = run(*command, DEPLOY / "kustomize/overlay")
    check(code == 0 and not said, f"kustomize: {said}")
    compare(GOLDEN / "kustomize.yaml", out, write)
    items = parsed(out)
    for item in items:
        check_schema(item)
    for ok, what in fit.fitting(items):
        check(ok, f"kustomize: {what}")


def check_broken(folder):
    """That mistakes are refused, in words that help, and that nothing else about their values is wrong."""
    base = yaml.safe_load((DEPLOY / "examples/defaults.yaml").read_text())
    for what, change, words in broken.VARIANTS:
        values = folder / "broken.yaml"
        values.write_text(yaml.safe_dump(broken.merged(base, change)))
        code, out, said = render("gateway", values)
        check(code != 0 and not out, f"{what}: was not refused")
        check(words in said, f"{what}: refused, and not with {words!r}:\n{said}")
    for what, change in broken.FINE:
        values = folder / "fine.yaml"
        values.write_text(yaml.safe_dump(broken.merged(base, change)))
        code, _, said = render("gateway", values)
        check(code == 0, f"{what}: was refused: {said}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--write", action="store_true")
    write = arguments.parse_args().write
    cargo = (ROOT / "Cargo.toml").read_text()
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    check(f'\nversion = "{chart["appVersion"]}"' in cargo, "appVersion in Chart.yaml is not the version in Cargo.toml")
    check_files(write)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, releases in SETS.items():
            texts, rendered = [], []
            for release, values in releases:
                values = DEPLOY / "examples" / f"{values}.yaml"
                code, text, said = render(release, values)
                check(code == 0 and not said, f"{name}: {said}")
                code, out, said = run(tool("helm"), "lint", "--strict", CHART, "--values", values)
                check(code == 0, f"{name}: {out}{said}")
                items = parsed(text)
                for item in items:
                    check_schema(item)
                for ok, what in fit.fitting(items):
                    check(ok, f"{name}: {what}")
                check_grafana(items)
                check_programs(items, folder)
                texts.append(golden(text))
                rendered.append(items)
            if len(rendered) == 2:
                check_apart(name, rendered)
            compare(GOLDEN / f"{name}.yaml", "".join(texts), write)
        check_broken(folder)
        check_package(folder)
        check_haproxy(folder)
    check_keda()
    check_kustomize(write)
    check_values(write)
    check_notes()
    check_live()
    check_handshake()
    checks.close()


if __name__ == "__main__":
    main()
