#!/usr/bin/env python3
"""Checks the dashboards, the alert rules and their tests, with the standard library and promtool alone.

    check.py                     everything here
    check.py --scrape SOURCE     and that each metric named here occurs in SOURCE, a /metrics URL or a file of one

Prints what failed and, as the last line, "N passed, N failed"; exits with 1 if anything failed.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
FILTERS = ('job=~"$job"', 'instance=~"$instance"')
MAX_PANELS = 25  # more than this nobody reads
# Not part of a longer word, nor of the name of a recording rule, which has colons in it.
METRIC = re.compile(r"(?<![\w:])((?:gateway|process)_\w+)(?![\w:])")

passed = 0
failed = 0


def check(ok, what):
    """Counts one check; `what` says what is wrong if it fails."""
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print(f"FAILED {what}")


def promtool(*arguments):
    """Runs promtool; its output is shown where it fails."""
    try:
        run = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        check(False, "promtool is not installed; it comes with Prometheus")
        return
    said = f"{run.stdout}{run.stderr}".strip()
    check(run.returncode == 0, f"promtool {' '.join(map(str, arguments))}\n{said}")


def check_dashboard(path):
    """The conventions that keep a dashboard usable on anybody's Grafana, and all its queries valid."""
    dashboard = json.loads(path.read_text())

    def rule(ok, what):
        check(ok, f"{path.name}: {what}")

    rule(re.fullmatch(r"gateway-[a-z-]+", dashboard.get("uid", "")), "needs a fixed, readable uid that starts with gateway-")
    rule("id" not in dashboard, "must have no id: it belongs to one Grafana's database")
    rule(not any(key.startswith("__") for key in dashboard), "must have no __inputs: provisioning does not resolve them")
    rule(39 <= dashboard.get("schemaVersion", 0) <= 42, "must be classic JSON, schemaVersion 39 to 42")
    rule(dashboard.get("editable") is False, "must not be editable: changes would be lost at the next start")

    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    rule(variables.get("datasource", {}).get("type") == "datasource", "needs a variable for the data source")
    for name in ("job", "instance"):
        variable = variables.get(name, {})
        rule(variable.get("multi") and variable.get("includeAll"), f"variable {name} must take several values, and all")
        rule(variable.get("allValue") == ".+", f"variable {name} must mean any value by All")
        rule(variable.get("refresh") == 2, f"variable {name} must follow the time range")
        rule(variable.get("datasource") == DATASOURCE, f"variable {name} must use the data source variable")

    rows = [panel for panel in dashboard["panels"] if panel["type"] == "row"]
    rule(rows and not rows[0]["collapsed"], "the first row must be open")
    rule(all(row["collapsed"] for row in rows[1:]), "rows after the first must be collapsed: closed rows do not query")
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    panels += [panel for row in rows for panel in row["panels"]]
    rule(0 < len(panels) <= MAX_PANELS, f"has {len(panels)} panels, at most {MAX_PANELS} are readable")
    ids = [panel["id"] for panel in panels + rows]
    rule(len(ids) == len(set(ids)), "panel ids must differ")

    queries = []
    for panel in panels:
        title = panel.get("title", "")
        rule(title, f"panel {panel['id']} needs a title")
        rule(len(panel.get("description", "")) > 20, f"panel {title} needs a description")
        rule(panel.get("fieldConfig", {}).get("defaults", {}).get("unit"), f"panel {title} needs a unit")
        rule(panel.get("datasource") == DATASOURCE, f"panel {title} must use the data source variable")
        rule(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24, f"panel {title} sticks out on the right")
        rule(panel["targets"], f"panel {title} needs a query")
        for target in panel["targets"]:
            what = f"query {target['refId']} of {title}"
            rule(target.get("datasource") == DATASOURCE, f"{what} must use the data source variable")
            queries.append((what, target["expr"]))
    for annotation in dashboard["annotations"]["list"]:
        what = f"annotation {annotation['name']}"
        rule(annotation.get("datasource") == DATASOURCE, f"{what} must use the data source variable")
        queries.append((what, annotation["expr"]))

    for what, query in queries:
        check_query(query, rule, what)
    check_syntax(queries, path.name)


def check_query(query, rule, what):
    for metric in METRIC.finditer(query):
        selector = re.match(r"\{[^}]*\}", query[metric.end():])
        filtered = selector and all(part in selector.group() for part in FILTERS)
        rule(filtered, f"{what}: {metric.group()} must be filtered by job and instance")
        if metric.group().endswith(("_total", "_bucket")):
            rated = re.search(r"(rate|increase)\($", query[: metric.start()])
            rule(rated, f"{what}: {metric.group()} is a counter and means nothing without rate() or increase()")
    for window in re.findall(r"\[([^\]]+)\]", query):
        rule(window == "$__rate_interval", f"{what}: the window [{window}] must be $__rate_interval")


def check_syntax(queries, name):
    """Has promtool parse the queries, as recording rules that nobody will ever run."""
    values = {"$__rate_interval": "5m", "$quantile": "0.99", "$job": ".+", "$instance": ".+"}
    rules = []
    for number, (_, query) in enumerate(queries):
        for variable, value in values.items():
            query = query.replace(variable, value)
        # JSON strings are YAML strings.
        rules.append(f"      - record: dashboard:query:{number}\n        expr: {json.dumps(query)}\n")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{name}.rules.yml")
        file.write_text("groups:\n  - name: queries\n    rules:\n" + "".join(rules))
        promtool("check", "rules", file)


def check_rules(path):
    """Rules are valid, say what to do, and are tested both ways. Reads YAML as text: it is written in one style."""
    promtool("check", "rules", path)
    tests = path.with_name(path.name.replace(".yml", ".test.yml"))
    check(tests.exists(), f"{path.name}: there is no {tests.name}")
    if not tests.exists():
        return
    promtool("test", "rules", tests)

    outcomes = re.findall(r"alertname: (\w+)\n +exp_alerts:( \[\])?\n", tests.read_text())
    fires = {name for name, silent in outcomes if not silent}
    stays_silent = {name for name, silent in outcomes if silent}
    alerts = re.split(r"- alert: (\w+)\n", path.read_text())[1:]
    check(alerts, f"{path.name}: has no alert")
    for name, body in zip(alerts[::2], alerts[1::2]):
        check(re.search(r"severity: (critical|warning)\n", body), f"{name} needs a severity, critical or warning")
        check(re.search(r'summary: "[^"]{10,}"', body), f"{name} needs a summary")
        check(re.search(r'description: "[^"]{60,}"', body), f"{name} needs a description that says what to do")
        check(name in fires, f"{name} has no test in which it fires")
        check(name in stays_silent, f"{name} has no test in which it stays silent")


def check_names(source, files):
    """Every metric that is drawn or alerted on exists: a renamed one would only ever show as an empty panel."""
    if source.startswith(("http://", "https://")):
        with urllib.request.urlopen(source, timeout=10) as answer:
            text = answer.read().decode()
    else:
        text = Path(source).read_text()
    exported = set(re.findall(r"^(?:# TYPE )?(\w+)", text, re.MULTILINE))
    exported |= {histogram(name) for name in exported}
    for file in files:
        for name in sorted(set(METRIC.findall(file.read_text()))):
            check(name in exported or histogram(name) in exported, f"{file.name}: {name} is not exported")


def histogram(series):
    """The name that the series of a histogram share; it alone is exported before the first observation."""
    return re.sub(r"_(bucket|sum|count)$", "", series)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--scrape", metavar="SOURCE", help="a /metrics URL or file to compare metric names with")
    source = arguments.parse_args().scrape

    dashboards = sorted(HERE.glob("dashboards/*.json"))
    rules = sorted(HERE.glob("rules/*.rules.yml"))
    check(dashboards, "no dashboards")
    check(rules, "no rules")
    for path in dashboards:
        check_dashboard(path)
    for path in rules:
        check_rules(path)
    if source:
        check_names(source, dashboards + rules)

    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
