#!/usr/bin/env python3
"""Checks the dashboards, the alert rules and their tests, with the standard library and promtool alone.

    check.py                     everything here
    check.py --scrape SOURCE     instead, that each metric named here occurs in SOURCE, a /metrics URL or a file of one, and that each
                                 one there is on a dashboard
    check.py --prometheus URL    instead, that the queries of the dashboards have answers from a Prometheus that watches a node under load

Prints what failed and, as the last line, "N passed, N failed"; exits with 1 if anything failed.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / ".ci"))

import build
import checks
import scenarios
from checks import check

HERE = Path(__file__).resolve().parent
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
FILTERS = ('job=~"$job"', 'namespace=~"$namespace"', 'instance=~"$instance"')
# What All of a variable means. Of namespaces there may be none.
ALL = {"job": ".+", "namespace": ".*", "instance": ".+", "testid": ".*", "scenario": ".*"}
# All jobs are all of the gateway: others have metrics of their processes, too.
ALL_LISTED = ("job",)
# The one that is about k6, which knows no nodes.
LOADTEST = "loadtest"
MAX_PANELS = 25  # more than this nobody reads
# Not part of a longer word, nor of the name of a recording rule, which has colons in it.
METRIC = re.compile(r"(?<![\w:])((?:gateway|process)_\w+)(?![\w:])")
# Metrics that are on no dashboard, and why.
UNDRAWN = {
    "process_virtual_memory_bytes": "address space that is reserved says nothing about memory that is used",
    "process_virtual_memory_max_bytes": "no limit that anybody sets for a server",
}
# More series than this are no picture. Nodes are few where this is checked.
MAX_SERIES = 12
RUNBOOKS = HERE.parent / "docs" / "runbooks.md"
# What each section of the runbooks says.
STEPS = ("Means", "Noticed by", "Look first", "Do", "Over when")


def promtool(*arguments):
    """Runs promtool; its output is shown where it fails."""
    ok, what = ask_promtool(*arguments)
    check(ok, what)


def ask_promtool(*arguments):
    """Whether promtool is content, and what it says."""
    try:
        run = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        return False, "promtool is not installed; it comes with Prometheus"
    return run.returncode == 0, f"promtool {' '.join(map(str, arguments))}\n{run.stdout}{run.stderr}".strip()


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
    of_nodes = path.stem != LOADTEST
    for name in ("job", "namespace", "instance") if of_nodes else ("testid", "scenario"):
        variable = variables.get(name, {})
        rule(variable.get("multi") and variable.get("includeAll"), f"variable {name} must take several values, and all")
        wanted = None if name in ALL_LISTED else ALL[name]
        rule(variable.get("allValue") == wanted, f"variable {name} must mean {wanted or 'those that it lists'} by All")
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
        rule("?" in panel.get("description", ""), f"panel {title} needs a description with the question that it answers")
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
        check_query(query, rule, what, of_nodes)
    check_syntax(queries, path.name)


def check_query(query, rule, what, of_nodes):
    for metric in METRIC.finditer(query):
        selector = re.match(r"\{[^}]*\}", query[metric.end():])
        filtered = selector and all(part in selector.group() for part in (FILTERS if of_nodes else ("job=",)))
        rule(filtered, f"{what}: {metric.group()} must be filtered by job, namespace and instance")
        if metric.group().endswith(("_total", "_bucket")):
            rated = re.search(r"(rate|increase)\($", query[: metric.start()])
            rule(rated, f"{what}: {metric.group()} is a counter and means nothing without rate() or increase()")
    for window in re.findall(r"\[([^\]]+)\]", query):
        rule(window == "$__rate_interval", f"{what}: the window [{window}] must be $__rate_interval")


def check_syntax(queries, name):
    """Has promtool parse the queries, as recording rules that nobody will ever run."""
    rules = []
    for number, (_, query) in enumerate(queries):
        # JSON strings are YAML strings.
        rules.append(f"      - record: dashboard:query:{number}\n        expr: {json.dumps(filled(query))}\n")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{name}.rules.yml")
        file.write_text("groups:\n  - name: queries\n    rules:\n" + "".join(rules))
        promtool("check", "rules", file)


def filled(query, window="5m"):
    """A query with values for its variables."""
    for variable, value in {**ALL, "quantile": "0.99", "__rate_interval": window}.items():
        query = query.replace(f"${variable}", value)
    return query


def check_links(dashboards, alerts):
    """Links of panels lead somewhere, and from the dashboards one gets to the runbook of each alert."""
    linked = set()
    for path in dashboards:
        for panel in panels_of(json.loads(path.read_text())):
            for link in panel.get("links", []):
                runbook = re.fullmatch(r"\$\{docs\}/runbooks\.md#(\w+)", link["url"])
                board = re.match(r"/d/gateway-(\w+)\?", link["url"])
                if runbook:
                    linked.add(runbook.group(1))
                else:
                    there = board and (HERE / "dashboards" / f"{board.group(1)}.json").exists()
                    check(there, f"{path.name}: {panel['title']} links to {link['url']}")
    names = {alert.lower(): alert for alert in alerts}
    for name in sorted(linked - names.keys()):
        check(False, f"a panel links to a runbook {name}, which there is not")
    for name in sorted(names.keys() - linked):
        check(False, f"no panel links to the runbook of {names[name]}")


def check_mentions(dashboards):
    """The panels and dashboards that runbooks send people to are there; they stand in italics."""
    boards = [json.loads(path.read_text()) for path in dashboards]
    titles = {board["title"] for board in boards} | {panel["title"] for board in boards for panel in panels_of(board)}
    # Of this document, and of Prometheus.
    titles |= {*STEPS, "Burn", "Leak", "Status, Targets", "Service discovery"}
    for name in sorted(set(re.findall(r"(?<!\*)\*([A-Z][\w ,']*)\*(?!\*)", RUNBOOKS.read_text()))):
        check(name in titles, f"docs/runbooks.md speaks of *{name}*, which is no panel")


def panels_of(dashboard):
    """All panels, also those in rows."""
    return [one for panel in dashboard["panels"] for one in (panel.get("panels", []) if panel["type"] == "row" else [panel])]


def drawn(dashboards):
    """The metrics that are on a dashboard; those of a histogram as one."""
    queries = [target["expr"] for path in dashboards for panel in panels_of(json.loads(path.read_text())) for target in panel["targets"]]
    return {histogram(name) for query in queries for name in METRIC.findall(query)}


def check_drawn(exported, dashboards, source):
    """Each metric is on a dashboard, or there is a reason."""
    shown = drawn(dashboards)
    for name in sorted(exported - shown - UNDRAWN.keys()):
        check(False, f"{name} ({source}) is on no dashboard, nor is there a reason in check.py")
    for name in sorted(UNDRAWN):
        check(name not in shown, f"{name} is on a dashboard, although check.py has a reason why not")


def check_rules(path, sections):
    """Rules are valid, say what to do, and are tested both ways. Reads YAML as text: it is written in one style."""
    promtool("check", "rules", path)
    text = path.read_text()
    for clause in re.findall(r"\b(?:by|on) \(([^)]*)\)", text):
        apart = clause.startswith("cluster, namespace, job")
        check(apart, f"{path.name}: ({clause}) makes one of several deployments: begin with cluster, namespace, job")

    tests = "".join(file.read_text() for file in tests_of(path))
    outcomes = re.findall(r"alertname: (\w+)\n +exp_alerts:( \[\])?\n", tests)
    fires = {name for name, silent in outcomes if not silent}
    stays_silent = {name for name, silent in outcomes if silent}
    alerts = re.split(r"- alert: (\w+)\n", text)[1:]
    check(alerts, f"{path.name}: has no alert")
    for name, body in zip(alerts[::2], alerts[1::2]):
        check(re.search(r"severity: (critical|warning)\n", body), f"{name} needs a severity, critical or warning")
        check(re.search(r'summary: "[^"]{10,}"', body), f"{name} needs a summary")
        check(re.search(r'description: "[^"]{60,}"', body), f"{name} needs a description that says what to do")
        anchor = f"docs/runbooks.md#{name.lower()}"
        check(f"runbook_url: {anchor}\n" in body + "\n", f"{name} needs runbook_url: {anchor}")
        section = sections.get(name, "")
        check(section, f"docs/runbooks.md has no section {name}")
        for step in STEPS:
            said = re.search(rf"^- \*\*{step}\*\*: .{{10,}}", section, re.MULTILINE)
            check(said or not section, f"docs/runbooks.md, {name}: does not say **{step}**")
        check(name in fires, f"{name} has no test in which it fires")
        check(name in stays_silent, f"{name} has no test in which it stays silent")
    return alerts[::2]


def tests_of(path):
    """The files with the tests of a rule file."""
    return sorted(path.parent.glob(path.name.replace(".rules.yml", ".rules*.test.yml")))


def check_rehearsed(alerts):
    """Each alert has a case that plays its runbook through, or a reason why not."""
    cases = [name for path in HERE.glob("rehearse/cases/*.mjs") for name in re.findall(r"alert: '(\w+)'", path.read_text())]
    _, _, text = RUNBOOKS.read_text().partition("\n## Played through\n")
    rows = re.findall(r"^\| (Gateway[\w, ]+) \|", text.partition("Not brought about")[2], flags=re.MULTILINE)
    reasons = [name for row in rows for name in row.split(", ")]
    for name in sorted(set(alerts)):
        said = cases.count(name) + reasons.count(name)
        check(said == 1, f"{name} needs one case in grafana/rehearse, or a reason in docs/runbooks.md; it has {said} of them")
    for name in sorted(set(cases + reasons) - set(alerts)):
        check(False, f"{name} is rehearsed, or has a reason why not, and is no alert")


def runbook_sections():
    """The sections of the runbooks by the alert that they are for."""
    parts = re.split(r"^### (\w+)\n", RUNBOOKS.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2]))


def check_tests(rules):
    """The rules' tests hold, in two deployments at once too, and in the scenarios there is no alert at all."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for path in rules:
            tests = tests_of(path)
            check(tests, f"{path.name}: there are no tests")
            for test in tests:
                files.append(Path(folder, test.name))
                files[-1].write_text(in_namespaces(test.read_text()).replace(path.name, str(path)))
        files.append(Path(folder, "scenarios.test.yml"))
        files[-1].write_text(scenarios.as_test(map(str, rules)))
        with ThreadPoolExecutor(2) as pool:
            for ok, what in pool.map(lambda file: ask_promtool("test", "rules", file), files):
                check(ok, what)


def in_namespaces(text):
    """Tests with all that they have twice: as it is, and in a namespace. Each of the two must see its own alone."""
    for item in (r"      - series: '.*\n        values: .*\n", r"          - labels: '.*\n            value: .*\n"):
        text = re.sub(f"^{item}", lambda found: twice(found, "{"), text, flags=re.MULTILINE)
    alert = r"^          - exp_labels:\n(?: {12,}.*\n)+"
    return re.sub(alert, lambda found: twice(found, "exp_labels:"), text, flags=re.MULTILINE)


def twice(found, opening):
    """One item, and the same in a namespace. An alert that has no job is about no deployment."""
    item = found.group()
    label = '{{namespace="{}",' if opening == "{" else "exp_labels:\n              namespace: {}"
    if opening != "{" and not re.search(r"^ +job: ", item, re.MULTILINE):
        return item
    return item + item.replace(opening, label.format("east"), 1)


def documented():
    """The metrics that docs/metrics.md has."""
    return set(METRIC.findall((HERE.parent / "docs" / "metrics.md").read_text()))


def check_metrics(rules):
    """Each metric that rules read is documented, and is part of the scenarios in which nobody may be called."""
    series = (*scenarios.COUNTERS, *scenarios.GAUGES, scenarios.TURN, scenarios.NODES)
    tried = {one.partition("{")[0] for one in series}
    for path in rules:
        expressions = re.sub(r"^ +(?:summary|description): .*|#.*", "", path.read_text(), flags=re.MULTILINE)
        for name in sorted(set(METRIC.findall(expressions)) | set(re.findall(r"\bredis_\w+(?={)", expressions))):
            if name.startswith("gateway_"):
                check(histogram(name) in documented(), f"{path.name}: docs/metrics.md has no {name}")
            check(name in tried, f"{path.name}: scenarios.py has no {name}")


def check_names(source, files):
    """Every metric that is drawn or alerted on exists, and those that exist are drawn: a renamed one would only ever show as an empty panel."""
    if source.startswith(("http://", "https://")):
        with urllib.request.urlopen(source, timeout=10) as answer:
            text = answer.read().decode()
    else:
        text = Path(source).read_text()
    exported = set(re.findall(r"^(?:# TYPE )?(\w+)", text, re.MULTILINE))
    exported = {histogram(name) for name in exported}
    check_drawn({name for name in exported if METRIC.fullmatch(name)}, [file for file in files if file.suffix == ".json"], source)
    for file in files:
        for name in sorted(set(METRIC.findall(file.read_text()))):
            check(histogram(name) in exported, f"{file.name}: {name} is not exported")


def check_answers(url, dashboards):
    """Each query is answered, not by too many series nor by many that are all 0; and what a node without Redis has under load is there."""
    for path in dashboards:
        dashboard = json.loads(path.read_text())
        for panel in panels_of(dashboard):
            for target in panel["targets"]:
                what = f"{path.name}: query {target['refId']} of {panel['title']}"
                query = urllib.parse.urlencode({"query": filled(target["expr"], "20s")}).encode()
                try:
                    with urllib.request.urlopen(f"{url}/api/v1/query", query, timeout=10) as answer:
                        series = json.load(answer)["data"]["result"]
                except urllib.error.HTTPError as error:
                    check(False, f"{what}: {error.read().decode()}")
                    continue
                zeros = [one for one in series if float(one["value"][1]) == 0]
                check(len(series) <= MAX_SERIES, f"{what} has {len(series)} series")
                check(len(zeros) < 5, f"{what} has {len(zeros)} series that are 0")
                lasting = panel["type"] in ("stat", "timeseries") and not re.search(r" > \d|ALERTS", target["expr"])
                # Nobody comes back in that test, and who is alone has no objectives before an hour is over.
                elsewhere = ":ratio_rate" in target["expr"] or "gateway_recoveries_total" in target["expr"]
                if path.stem in ("overview", "traffic") and lasting and not elsewhere:
                    check(series, f"{what} has no answer")


def histogram(series):
    """The name that the series of a histogram share; it alone is exported before the first observation."""
    return re.sub(r"_(bucket|sum|count)$", "", series)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--scrape", metavar="SOURCE", help="a /metrics URL or file to compare metric names with")
    arguments.add_argument("--prometheus", metavar="URL", help="a Prometheus to ask what the dashboards ask")
    asked = arguments.parse_args()

    dashboards = sorted(HERE.glob("dashboards/*.json"))
    rules = sorted(HERE.glob("rules/*.rules.yml"))
    check(dashboards, "no dashboards")
    check(rules, "no rules")
    if asked.scrape:
        check_names(asked.scrape, dashboards + rules)
    elif asked.prometheus:
        check_answers(asked.prometheus, dashboards)
    else:
        for name in build.stale():
            check(False, f"dashboards/{name} is not what boards/ makes: run grafana/build.py")
        for path in dashboards:
            check_dashboard(path)
        sections = runbook_sections()
        alerts = [alert for path in rules for alert in check_rules(path, sections)]
        check(len(alerts) == len(set(alerts)), "two alerts have one name")
        check_links(dashboards, alerts)
        check_rehearsed(alerts)
        check_mentions(dashboards)
        check_drawn(documented(), dashboards, "docs/metrics.md")
        for name in sorted(set(sections) - set(alerts)):
            check(False, f"docs/runbooks.md has a section {name}, which is no alert")
        check_metrics(rules)
        check_tests(rules)

    checks.close()


if __name__ == "__main__":
    main()
