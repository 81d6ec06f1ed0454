"""Is it well, and if not, where does one look?"""

from model import BAD, CALM, GOOD, POOR, Bars, Board, Lines, Row, Stat, Table, quantile

# Shares of the objectives, over the window of a rate; docs/runbooks.md says what is promised.
REFUSED = 'sum(rate(gateway_log_errors_total{op="append"})) + sum(rate(gateway_refusals_total{code="log_full"}))'
PUBLISHED = (
    'sum(rate(gateway_events_received_total{action=~"publish|direct|broadcast"}))'
    ' + sum(rate(gateway_api_requests_total{operation=~"publish.*"}))'
)
WANTED = 'gateway_recoveries_total{result!~"unknown|offset|not_allowed|replaced"}'
# Of rules and alerts there are no nodes.
OF_RULES = 'namespace=~"$namespace", job=~"$job"'
FIRING = 'ALERTS{alertstate="firing", alertname=~"Gateway.+", namespace=~"$namespace", job=~"$job|(.+/)?gateway-redis|"}'


def burn(title, promise, objective, rest, alerts):
    """How fast the rest of 30 days goes: 1 is just what may be."""
    return Lines(
        title,
        f"Is more going wrong than may be? {promise} 1 uses up in 30 days what 30 days may; at 14.4 for an hour, or 6 for six, somebody"
        " is called. The axis ends at 30. Needs the rules of grafana/rules.",
        *[(f"gateway:{objective}:ratio_rate{window}{{{OF_RULES}}} / {rest}", f"over {window}") for window in ("5m", "1h", "6h", "3d")],
        unit="short",
        steps=[(None, GOOD), (1, POOR), (14.4, BAD)],
        max=30,
        alerts=alerts,
    )


def board():
    return Board(
        "overview",
        "Gateway overview",
        "Is it well? Who is connected, what flows, how fast, what is refused, and what runs out. The other dashboards know more.",
        [now(), objectives(), runs_out()],
    )


def now():
    good_share = [(None, BAD), (0.99, POOR), (0.999, GOOD)]
    return Row(
        "Now",
        Stat(
            "Nodes",
            "Are all nodes there? Those that answer a scrape and take clients, and the fewest that one of them sees. Two numbers that differ for"
            " long are a split cluster.",
            ("count(gateway_build_info) - sum(gateway_works_only)", "scraped"),
            ("min(gateway_cluster_nodes)", "seen"),
            unit="short",
            width=3,
            graph="none",
            alerts=("GatewayTargetDown", "GatewayAbsent", "GatewayClusterSplit", "GatewayCrashLoop"),
            to="redis",
        ),
        Stat(
            "Connections",
            "How many clients are connected, by websocket and long-polling together?",
            ("sum(gateway_connections)", "connections"),
            unit="short",
            width=3,
            steps=[(None, CALM)],
            alerts=("GatewayMassDisconnect",),
            to="traffic",
        ),
        Stat(
            "Fullest node",
            "Is there room for more? The connections of the fullest node, of what it may have (limits.connections). At 100 % it refuses handshakes.",
            ("max(sum by (instance) (gateway_connections) / (max by (instance) (gateway_connections_limit) > 0))", "fullest"),
            unit="percentunit",
            width=3,
            min=0,
            max=1,
            decimals=0,
            noValue="no limit",
            steps=[(None, GOOD), (0.7, POOR), (0.85, BAD)],
            alerts=("GatewayConnectionsNearLimit",),
            to="traffic",
        ),
        Stat(
            "Publishes accepted",
            "Can clients say what they want to? The share of publishes that the log took. What it did not take was refused, and told so; nothing"
            " that was acknowledged is lost. Promised are 99.9 %.",
            (f"1 - clamp_max(({REFUSED}) / ({PUBLISHED} > 0), 1)", "accepted"),
            unit="percentunit",
            width=3,
            max=1,
            noValue="none",
            decimals=2,
            steps=good_share,
            alerts=("GatewayPublishBudgetBurn", "GatewayPublishBudgetLeak"),
            to="redis",
        ),
        Stat(
            "Delivered in time",
            "Do members hear what is said at once? The share of events that were on their way to members within 250 ms. Promised are 99 %.",
            (
                'sum(rate(gateway_feed_lag_seconds_bucket{le="0.25"})) / (sum(rate(gateway_feed_lag_seconds_count)) > 0)',
                "in time",
            ),
            unit="percentunit",
            width=3,
            max=1,
            noValue="none",
            decimals=2,
            steps=[(None, BAD), (0.95, POOR), (0.99, GOOD)],
            alerts=("GatewayDeliveryBudgetBurn", "GatewayDeliveryBudgetLeak"),
            to="traffic",
        ),
        Stat(
            "Came back whole",
            "Does who comes back get what it missed? The share of recoveries that succeeded, of those that could. Promised are 99 %.",
            (
                f'sum(rate(gateway_recoveries_total{{result="recovered"}})) / (sum(rate({WANTED})) > 0)',
                "whole",
            ),
            unit="percentunit",
            width=3,
            max=1,
            noValue="none",
            decimals=2,
            steps=[(None, BAD), (0.95, POOR), (0.99, GOOD)],
            alerts=("GatewayRecoveryBudgetBurn", "GatewayRecoveryBudgetLeak"),
            to="presence",
        ),
        Stat(
            "Without Redis",
            "Is a node cut off? Nodes that do not hear Redis: their members hear nothing from others until it is back, and then what they missed.",
            ("count(gateway_bus_connected == 0) or vector(0)", "nodes"),
            unit="short",
            width=3,
            steps=[(None, GOOD), (1, BAD)],
            alerts=("GatewayBusDisconnected",),
            to="redis",
        ),
        Stat(
            "Alerts",
            "Is anybody called? Alerts that fire just now. Needs the rules of grafana/rules.",
            (f"count({FIRING}) or vector(0)", "firing"),
            unit="short",
            width=3,
            steps=[(None, GOOD), (1, BAD)],
        ),
        Table(
            "Alerts that fire",
            "What is wrong, and what is to be done? Each leads to its runbook. Needs the rules of grafana/rules.",
            (f"sort_desc(count by (alertname, severity, instance) ({FIRING}))", ""),
            unit="short",
            columns={"alertname": "Alert", "severity": "Severity", "instance": "Node"},
            hidden=["Time", "Value"],
            cells=[
                {
                    "matcher": {"id": "byName", "options": "Alert"},
                    "properties": [
                        {
                            "id": "links",
                            "value": [
                                {"title": "Runbook", "url": "${docs}/runbooks.md#${__value.text}", "targetBlank": True}
                            ],
                        },
                        {"id": "custom.width", "value": 250},
                    ],
                },
                {
                    "matcher": {"id": "byName", "options": "Severity"},
                    "properties": [
                        {"id": "mappings", "value": [{"type": "value", "options": {"critical": {"color": BAD, "index": 0}, "warning": {"color": POOR, "index": 1}}}]},
                        {"id": "custom.cellOptions", "value": {"type": "color-text"}},
                        {"id": "custom.width", "value": 75},
                    ],
                },
            ],
        ),
        Lines(
            "Connections by node",
            "Are clients spread evenly, and did a node lose its own? Nodes that came later stay emptier: connections do not move by themselves.",
            ("sum by (instance) (gateway_connections)", "{{instance}}"),
            unit="short",
            stack=True,
            alerts=("GatewayMassDisconnect", "GatewayConnectionsNearLimit"),
            to="traffic",
        ),
        Lines(
            "Events",
            "How much is going on? Events of clients that routes took, and, on the right, how many deliveries they and those of back ends became.",
            ("sum(rate(gateway_events_received_total))", "received"),
            ("sum(rate(gateway_events_delivered_total))", "delivered"),
            unit="cps",
            other={"^delivered$": {"unit": "cps", "custom.axisPlacement": "right", "custom.fillOpacity": 0}},
            colors={"^delivered$": GOOD, "^received$": CALM},
            to="traffic",
        ),
        Lines(
            "How long it takes",
            "Is it fast? From a publish to its ack, and from an event's being taken anywhere to its delivery here, at the quantile above.",
            (quantile("gateway_publish_duration_seconds"), "publish to ack"),
            (quantile("gateway_feed_lag_seconds"), "taken to delivered"),
            unit="s",
            alerts=("GatewayDeliveryBudgetBurn",),
            to="traffic",
        ),
        Bars(
            "Refused",
            "What may clients not do, and why? Refusals by code; docs/protocol.md says what each means.",
            ("sum by (code) (rate(gateway_refusals_total)) > 0", "{{code}}"),
            unit="cps",
            alerts=("GatewayFlooded",),
            to="traffic",
        ),
        Bars(
            "Connections that ended",
            "Why do clients go? client_close is their own wish, transport_close and transport_error a client, network or balancer that was killed;"
            " draining is a deployment."
            " slow, flooding and bad_packet are about the clients.",
            ("sum by (reason) (rate(gateway_connections_closed_total)) > 0", "{{reason}}"),
            unit="cps",
            colors={"^client_close$": CALM, "^draining$": POOR, "^transport_(close|error)$": BAD, "^(slow|flooding|bad_packet)$": "purple"},
            alerts=("GatewayMassDisconnect",),
            to="traffic",
        ),
        Lines(
            "CPU by node",
            "Is a node short of CPU? 1 is a core that is busy all the time. Deliveries are late well before all cores of a node are busy.",
            ("rate(process_cpu_seconds_total)", "{{instance}}"),
            unit="short",
            axis="cores",
            decimals=2,
        ),
        Lines(
            "Memory by node",
            "Does a node grow? What the process has in memory. An idle connection takes some 10 KiB; what grows without connections is a leak,"
            " or what waits for slow clients.",
            ("process_resident_memory_bytes", "{{instance}}"),
            unit="bytes",
            alerts=("GatewayBuffersNearLimit",),
        ),
        Bars(
            "Trouble with Redis",
            "Is Redis well? Connections made anew, publishes that the log did not take, and interruptions: those filled from the log hurt nobody,"
            " those that lost events were told to clients.",
            ("sum(rate(gateway_bus_reconnects_total)) > 0", "reconnects"),
            ("sum by (op) (rate(gateway_log_errors_total)) > 0", "log: {{op}}"),
            ("sum by (result) (rate(gateway_feed_gaps_total)) > 0", "interruption: {{result}}"),
            unit="cps",
            colors={"^reconnects$": CALM, "filled$": GOOD},
            alerts=("GatewayBusDisconnected", "GatewayGapLost"),
            to="redis",
        ),
    )


def objectives():
    return Row(
        "Objectives",
        burn(
            "Publishes refused",
            "99.9 % of what is published is to be accepted.",
            "publishes_failed",
            0.001,
            ("GatewayPublishBudgetBurn", "GatewayPublishBudgetLeak"),
        ),
        burn(
            "Deliveries too late",
            "99 % of events are to be delivered within 250 ms.",
            "deliveries_failed",
            0.01,
            ("GatewayDeliveryBudgetBurn", "GatewayDeliveryBudgetLeak"),
        ),
        burn(
            "Recoveries that failed",
            "99 % of those that come back are to get what they missed.",
            "recoveries_failed",
            0.01,
            ("GatewayRecoveryBudgetBurn", "GatewayRecoveryBudgetLeak"),
        ),
        Bars(
            "Alerts over time",
            "What fired when, and what with it? The one that began first is often the cause.",
            (f"count by (alertname) ({FIRING})", "{{alertname}}"),
            unit="short",
            width=24,
            height=7,
            legend="right",
            whole=True,
        ),
    )


def runs_out():
    return Row(
        "What runs out",
        Lines(
            "Of what a node may have",
            "What is used up first? The fullest node of each: connections (limits.connections), what waits for clients (limits.buffered_bytes), open"
            " files (the process's limit), the log (log.max_bytes). At 100 % something is refused or closed.",
            ("max(sum by (instance) (gateway_connections) / (max by (instance) (gateway_connections_limit) > 0))", "connections"),
            ("max(gateway_buffered_bytes / (gateway_buffered_bytes_limit > 0))", "waiting for clients"),
            ("max(process_open_fds / process_max_fds)", "open files"),
            ("max(gateway_log_bytes / (gateway_log_bytes_limit > 0))", "log"),
            unit="percentunit",
            soft_max=1,
            steps=[(None, GOOD), (0.85, BAD)],
            width=12,
            decimals=1,
            calcs=["lastNotNull", "max"],
            alerts=("GatewayConnectionsNearLimit", "GatewayBuffersNearLimit", "GatewayFileDescriptorsNearLimit", "GatewayLogNearLimit"),
        ),
        Lines(
            "Memory per connection",
            "Are connections heavier than they were? All memory of a process by its connections, for nodes with more than 100.",
            (
                "process_resident_memory_bytes / on (job, namespace, instance) (sum by (job, namespace, instance) (gateway_connections) > 100)",
                "{{instance}}",
            ),
            unit="bytes",
            width=6,
        ),
        Lines(
            "Threads",
            "Does a process do more at once than it should? One for each core, and some that wait for files and names.",
            ("process_threads", "{{instance}}"),
            unit="short",
            width=6,
            whole=True,
        ),
    )
