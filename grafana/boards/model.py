"""How panels become Grafana's classic JSON: what is the same in all of them stands here once.

Queries are PromQL as one would say it. A metric of the gateway gets the variables as filters, and within rate(), increase()
and changes() the window; both would hide what a query is about if they were written out.
"""

import re

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
FILTERS = 'job=~"$job", namespace=~"$namespace", instance=~"$instance"'
# Not part of a longer word, nor of the name of a recording rule, which has colons in it.
METRIC = re.compile(r"(?<![\w:])((?:gateway|process)_\w+)(?![\w:])(\{[^}]*\})?")
OF_TIME = re.compile(r"(?:rate|increase|changes)\($")

# Colours that mean the same everywhere.
GOOD, BAD, POOR, CALM = "green", "red", "orange", "blue"
# Words of labels, by what they mean for whoever looks: all others get a colour of the palette.
MEANING = {
    GOOD: ("ok", "recovered", "whole", "yes", "done", "sent", "taken", "delivered", "filled", "kept", "2xx", "hit"),
    BAD: ("lost", "dropped", "dead", "unavailable", "failed", "5xx", "given up.*", "unusable"),
    POOR: ("4xx", "timeout", "open", "refused", "overloaded", "busy", "capacity", "late"),
}


def expand(query):
    """A query with the filters, and the windows, that are the same everywhere; what names its job is as it is to be."""

    def whole(found):
        selector = (found[2] or "{}")[1:-1]
        if "job=" in selector:
            return found[0]
        window = "[$__rate_interval]" if OF_TIME.search(query[: found.start()]) else ""
        return f"{found[1]}{{{', '.join(filter(None, [selector, FILTERS]))}}}{window}"

    return METRIC.sub(whole, query)


def quantile(metric, of="$quantile", by="le"):
    """A quantile of a histogram over all nodes that are chosen."""
    return f"histogram_quantile({of}, sum by ({by}) (rate({metric}_bucket)))"


class Board:
    """A dashboard: its rows, of which the first is open, and what it is about."""

    def __init__(self, name, title, about, rows, variables=None, annotations=None, on="gateway_build_info"):
        self.name, self.title, self.about, self.rows = name, title, about, rows
        self.variables = [*_variables(on), *(variables or [])] if on else variables
        self.annotations = _annotations() if annotations is None else annotations

    def json(self):
        """The dashboard as Grafana reads it."""
        panels, number, top = [], 0, 0
        for at, row in enumerate(self.rows):
            number += 1
            head = {"type": "row", "id": number, "title": row.title, "collapsed": at > 0, "panels": []}
            head["gridPos"] = {"h": 1, "w": 24, "x": 0, "y": top}
            panels.append(head)
            top += 1
            into = head["panels"] if at else panels
            left, height = 0, 0
            for panel in row.panels:
                number += 1
                if left + panel.width > 24:
                    left, top = 0, top + height
                    height = 0
                place = {"h": panel.height, "w": panel.width, "x": left, "y": top}
                into.append({"id": number, "gridPos": place, **panel.json()})
                left, height = left + panel.width, max(height, panel.height)
            top += height
        return {
            "uid": f"gateway-{self.name}",
            "title": self.title,
            "description": self.about,
            "tags": ["gateway"],
            "schemaVersion": 39,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "fiscalYearStartMonth": 0,
            "weekStart": "",
            "liveNow": False,
            "timepicker": {},
            "links": _links(),
            "templating": {"list": self.variables},
            "annotations": {"list": self.annotations},
            "panels": panels,
        }


class Row:
    """Panels under one heading."""

    def __init__(self, title, *panels):
        self.title, self.panels = title, panels


class Panel:
    """What one question is answered with. `asks` is that question, and what an answer means.

    `queries` are pairs of a query and what its series are called. `alerts` are those that are about it: the panel links to
    their runbooks. `to` is the dashboard that knows more.
    """

    def __init__(self, title, asks, *queries, unit, width=8, height=8, alerts=(), to=None, **look):
        self.title, self.asks, self.queries, self.unit = title, asks, queries, unit
        self.width, self.height, self.alerts, self.to, self.look = width, height, alerts, to, look

    def json(self):
        targets = []
        for at, (query, name) in enumerate(self.queries):
            target = {"datasource": SOURCE, "refId": "ABCDEFGH"[at], "expr": expand(query), "legendFormat": name}
            targets.append({**target, **self.asked(), "editorMode": "code"})
        links = []
        if self.to:
            way = "${__url_time_range}&${datasource:queryparam}&${job:queryparam}&${namespace:queryparam}&${instance:queryparam}"
            links.append({"title": "More of it", "url": f"/d/gateway-{self.to}?{way}"})
        for alert in self.alerts:
            links.append({"title": f"Runbook {alert}", "url": f"${{docs}}/runbooks.md#{alert.lower()}", "targetBlank": True})
        return {
            "type": self.kind,
            "title": self.title,
            "description": self.asks,
            "datasource": SOURCE,
            "links": links,
            "targets": targets,
            "fieldConfig": {"defaults": self.defaults(), "overrides": self.overrides()},
            "options": self.options(),
        }

    def asked(self):
        return {"range": True, "instant": False}

    def defaults(self):
        steps = [{"color": color, "value": value} for value, color in self.look.get("steps", [(None, "text")])]
        drawn = {"unit": self.unit, "mappings": self.look.get("mappings", [])}
        drawn["thresholds"] = {"mode": "absolute", "steps": steps}
        return drawn | {key: self.look[key] for key in ("min", "max", "decimals", "noValue") if key in self.look}

    def overrides(self):
        return []


class Stat(Panel):
    """A number that is read from across the room."""

    kind = "stat"

    def __init__(self, *arguments, width=4, height=5, **more):
        super().__init__(*arguments, width=width, height=height, **more)

    def defaults(self):
        return super().defaults() | {"color": {"mode": "thresholds"}}

    def options(self):
        return {
            "colorMode": self.look.get("color_mode", "value"),
            "graphMode": self.look.get("graph", "area"),
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": self.look.get("text_mode", "value_and_name" if len(self.queries) > 1 else "value"),
            "wideLayout": True,
            "reduceOptions": {"calcs": self.look.get("calcs", ["lastNotNull"]), "fields": "", "values": False},
        }


class Lines(Panel):
    """How something goes over time; what there is all the time."""

    kind = "timeseries"
    drawn = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 8, "lineInterpolation": "linear"}

    def defaults(self):
        custom = {
            **self.drawn,
            "gradientMode": "none",
            "showPoints": "never",
            "pointSize": 4,
            # A scrape that failed is no hole, an outage is one.
            "spanNulls": 20000,
            "stacking": {"mode": "normal" if self.look.get("stack") else "none", "group": "A"},
            "axisPlacement": "auto",
            "axisLabel": self.look.get("axis", ""),
            "axisSoftMin": 0,
            "scaleDistribution": {"type": "linear"},
            "thresholdsStyle": {"mode": "dashed" if self.look.get("steps") else "off"},
        }
        if self.look.get("stack"):
            custom["fillOpacity"] = 30
        if self.look.get("step"):
            custom["lineInterpolation"] = "stepAfter"
        # Of whole things a line at 0 would have an axis up to 100.
        if self.look.get("whole"):
            custom["axisSoftMax"] = 4
        if "soft_max" in self.look:
            custom["axisSoftMax"] = self.look["soft_max"]
        drawn = super().defaults() | {"color": {"mode": "palette-classic"}, "custom": custom}
        drawn.setdefault("min", 0)
        if self.look.get("whole"):
            drawn["decimals"] = 0
        return drawn

    def overrides(self):
        """Colours by what words mean; and the axes of series that are something else than the rest."""
        rules = []
        for color, words in MEANING.items():
            # Behind the name of a kind only what is bad stands out: several kinds may be well, and are told apart.
            before = "(.+: )?" if color == BAD else ""
            rules.append(_override(f"/^{before}({'|'.join(words)})$/", color={"mode": "fixed", "fixedColor": color}))
        for pattern, color in self.look.get("colors", {}).items():
            rules.append(_override(f"/{pattern}/", color={"mode": "fixed", "fixedColor": color}))
        for pattern, more in self.look.get("other", {}).items():
            rules.append(_override(f"/{pattern}/", **more))
        return rules

    def options(self):
        many = self.look.get("legend", "list")
        legend = {"showLegend": True, "displayMode": "table" if many == "right" else "list"}
        legend["placement"] = "right" if many == "right" else "bottom"
        legend["calcs"] = ["max"] if many == "right" else self.look.get("calcs", [])
        if many == "right":
            legend |= {"sortBy": "Max", "sortDesc": True}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc", "hideZeros": True}}


class Bars(Lines):
    """What happens now and then, by a label: series that are not 0, on top of each other.

    Labels have up to forty words. Series of those that never came would be a legend of zeros.
    """

    drawn = {"drawStyle": "bars", "lineWidth": 0, "fillOpacity": 70, "barAlignment": 0, "barMaxWidth": 200, "barWidthFactor": 1}

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **{"stack": True, "calcs": ["max"], "noValue": "none", **more})

    def defaults(self):
        drawn = super().defaults()
        drawn["custom"] |= {"fillOpacity": 70, "spanNulls": False}
        return drawn


class Table(Panel):
    """What there is just now, a line each. `columns` are labels and what they are called, in their order."""

    kind = "table"

    def asked(self):
        return {"range": False, "instant": True, "format": "table"}

    def json(self):
        columns = self.look["columns"]
        panel = super().json()
        panel["transformations"] = [
            {
                "id": "organize",
                "options": {
                    "excludeByName": {name: True for name in self.look["hidden"]},
                    "indexByName": {name: at for at, name in enumerate(columns)},
                    "renameByName": columns,
                },
            }
        ]
        return panel

    def defaults(self):
        return super().defaults() | {"custom": {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": False}}

    def overrides(self):
        return self.look["cells"]

    def options(self):
        return {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}}


def _override(pattern, **properties):
    found = {"id": "byRegexp", "options": pattern}
    return {"matcher": found, "properties": [{"id": key, "value": value} for key, value in properties.items()]}


def right_axis(unit, **more):
    """Properties of series whose unit is not that of the panel."""
    return {"unit": unit, "custom.axisPlacement": "right", "custom.fillOpacity": 0, **more}


def _links():
    """To the other dashboards with what is chosen here, and to what to do."""
    shared = {"asDropdown": False, "icon": "external link", "includeVars": True, "keepTime": True, "targetBlank": False}
    boards = {"title": "", "type": "dashboards", "tags": ["gateway"], "url": "", "tooltip": "", **shared}
    books = {"title": "Runbooks", "type": "link", "tags": [], "url": "${docs}/runbooks.md", "tooltip": "What to do about alerts"}
    return [boards, {**books, **shared, "icon": "doc", "includeVars": False, "keepTime": False, "targetBlank": True}]


def variable_of(name, label, query, all_value=".+"):
    """A variable whose values are those of a label; several may be chosen, and all."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": f"variable-{name}"},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": all_value,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
        "regex": "",
        "hide": 0,
        "skipUrlSync": False,
    }


def datasource():
    """Which Prometheus."""
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "multi": False,
        "includeAll": False,
        "refresh": 1,
        "current": {},
        "options": [],
        "hide": 0,
        "skipUrlSync": False,
    }


def docs():
    """Where docs/ can be read. Whoever installs the dashboards puts the address in; it is no secret, and may be changed in the URL."""
    address = "https://wiki.example/gateway/docs"
    chosen = {"selected": True, "text": address, "value": address}
    return {"name": "docs", "label": "Documentation", "type": "textbox", "query": address, "current": chosen, "options": [chosen], "hide": 2, "skipUrlSync": False}


def _variables(on):
    options = [{"selected": value == "0.99", "text": value, "value": value} for value in ("0.5", "0.95", "0.99")]
    chosen = {"query": "0.5,0.95,0.99", "multi": False, "includeAll": False, "current": options[-1], "options": options}
    filters = {"name": "filters", "label": "Filters", "type": "adhoc", "datasource": SOURCE, "filters": [], "hide": 0, "skipUrlSync": False}
    return [
        datasource(),
        # All jobs of the gateway, and no other job's: metrics of processes are everywhere.
        variable_of("job", "Job", f"label_values({on}, job)", None),
        # Of Kubernetes. Where there are none, All is any value, and none.
        variable_of("namespace", "Namespace", f'label_values({on}{{job=~"$job"}}, namespace)', ".*"),
        variable_of("instance", "Node", f'label_values({on}{{job=~"$job", namespace=~"$namespace"}}, instance)'),
        {"name": "quantile", "label": "Quantile", "type": "custom", **chosen, "hide": 0, "skipUrlSync": False},
        docs(),
        filters,
    ]


def _annotations():
    def mark(name, color, query, title, tags):
        shown = {"titleFormat": title, "textFormat": "", "tagKeys": tags, "step": "10s", "useValueForTime": False}
        return {"name": name, "datasource": SOURCE, "enable": True, "hide": False, "iconColor": color, "expr": expand(query), **shown}

    starts = "changes(process_start_time_seconds) > 0 or (gateway_build_info unless gateway_build_info offset $__rate_interval)"
    firing = 'ALERTS{alertstate="firing", severity="critical", namespace=~"$namespace", job=~"$job|"}'
    # When one began: those of objectives last for an hour, and would colour all of it.
    begun = f"{firing} unless {firing} offset $__rate_interval"
    return [
        mark("Starts and deploys", "green", starts, "{{instance}} {{version}} started", "instance,version"),
        mark("Drains", "orange", "gateway_draining == 1", "{{instance}} drains", "instance"),
        mark("Without Redis", "purple", "gateway_bus_connected == 0", "{{instance}} does not hear Redis", "instance"),
        mark("Critical alerts", "red", begun, "{{alertname}}", "alertname,instance"),
    ]
