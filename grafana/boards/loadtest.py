"""A load test as k6 sees it, beside what the gateway says at the same time."""

from model import BAD, CALM, GOOD, POOR, SOURCE, Bars, Board, Lines, Row, Stat, datasource, docs, variable_of


FIRING = 'ALERTS{alertstate="firing", alertname=~"Gateway.+", severity="critical"}'


def k6(name):
    return f'k6_{name}{{testid=~"$testid", scenario=~"$scenario"}}'


def rate(name):
    return f"rate({k6(name)}[$__rate_interval])"


def so_far(name):
    """What a counter has come to. k6 sends it when it has changed alone: of what happens now and then, no window has two samples."""
    return f"max_over_time({k6(name)}[$__rate_interval])"


def trend(name, *stats):
    """Of a trend k6 sends what it was told to: the quantiles of everything so far."""
    return [(f"max({k6(f'{name}_{stat}')})", label) for stat, label in stats]


# Virtual users are of a test, and of none of its scenarios.
USERS = 'k6_vus{testid=~"$testid"}'


QUANTILES = (("p50", "half"), ("p95", "95 of 100"), ("p99", "99 of 100"), ("max", "slowest"))


def board():
    variables = [
        datasource(),
        variable_of("testid", "Test", "label_values(k6_vus, testid)", ".*"),
        variable_of("scenario", "Scenario", 'label_values(k6_iterations_total{testid=~"$testid"}, scenario)', ".*"),
        docs(),
    ]
    annotations = [
        {
            "name": "Critical alerts",
            "datasource": SOURCE,
            "enable": True,
            "hide": False,
            "iconColor": "red",
            "expr": f"{FIRING} unless {FIRING} offset $__rate_interval",
            "titleFormat": "{{alertname}}",
            "textFormat": "",
            "tagKeys": "alertname,instance",
            "step": "10s",
            "useValueForTime": False,
        }
    ]
    return Board(
        "loadtest",
        "Gateway load tests",
        "What k6 does to the gateway and how that fares, as k6 writes it to Prometheus: loadtest/k6/README.md says how.",
        [verdict(), load(), latencies(), trouble()],
        variables,
        annotations,
        on=None,
    )


def verdict():
    def none_of(title, asks, name):
        return Stat(
            title,
            asks,
            # k6 says nothing of what was not counted: where there is a test, that is none.
            (f"sum({so_far(name)}) or 0 * sum({USERS})", title),
            unit="short",
            graph="none",
            # Once counted, it stays.
            calcs=["max"],
            noValue="no test",
            steps=[(None, GOOD), (1, BAD)],
        )

    return Row(
        "Promises",
        none_of("Lost", "Was something that was acknowledged not delivered? More than 0 is a broken promise.", "rooms_lost_total"),
        none_of("Twice", "Was something delivered twice? More than 0 is a broken promise.", "rooms_duplicated_total"),
        none_of("Out of order", "Was something delivered out of its order? More than 0 is a broken promise.", "rooms_disordered_total"),
        Stat(
            "Joined",
            "Did everybody get into a room? The share of planned clients that joined.",
            (f"min({k6('rooms_joined_rate')})", "joined"),
            unit="percentunit",
            graph="none",
            noValue="none yet",
            steps=[(None, BAD), (1, GOOD)],
        ),
        Stat(
            "Lost their connection",
            "Did the gateway keep its clients? The share of those that had joined whose connection ended before its time. In a test that breaks"
            " things they do, and come back. Those that were kept are counted when the test ends.",
            (f"max({so_far('rooms_dropped_rate')})", "dropped"),
            unit="percentunit",
            graph="none",
            noValue="none yet",
            steps=[(None, GOOD), (0.0001, POOR)],
        ),
        Stat(
            "Acknowledged",
            "Was everything answered? The share of requests for an ack that got one, be it a refusal.",
            (f"min({k6('sio_ack_success_rate')})", "answered"),
            unit="percentunit",
            decimals=2,
            graph="none",
            noValue="none yet",
            steps=[(None, BAD), (0.999, POOR), (1, GOOD)],
        ),
    )


def load():
    return Row(
        "Load",
        Lines(
            "Virtual users",
            "How much load is meant to be there? Each virtual user has several sockets.",
            (f"sum({USERS})", "virtual users"),
            unit="short",
            whole=True,
        ),
        Lines(
            "Sockets",
            "How many connections does k6 make? New ones in a second; and those that ended, by why.",
            (f"sum({rate('ws_sessions_total')})", "opened"),
            (f"sum by (reason) ({rate('sio_disconnects_total')})", "ended: {{reason}}"),
            unit="cps",
        ),
        Lines(
            "Events sent and received",
            "How much is said and heard? What is received are deliveries to all members.",
            (f"sum({rate('sio_events_sent_total')})", "sent"),
            (f"sum({rate('sio_events_received_total')})", "received"),
            unit="cps",
            colors={"^sent$": CALM, "^received$": GOOD},
        ),
        Lines(
            "Published, refused and skipped",
            "Was the rate reached? Skipped publishes were due while the one before still waited for its ack: many of them make latencies look better"
            " than they are.",
            (f"sum({rate('rooms_published_total')})", "published"),
            (f"sum by (code) ({rate('rooms_refused_total')})", "refused: {{code}}"),
            (f"sum({rate('rooms_skipped_total')})", "skipped"),
            unit="cps",
            colors={"^published$": GOOD, "^skipped$": POOR, "^refused": BAD},
        ),
        Lines(
            "CPU of the gateway",
            "Is it the gateway that is slow, or k6? What the nodes take at the same time, and how late timers of k6 are, on the right, where the scenario"
            " says so: its own load, and no latency of the gateway.",
            ('sum(rate(process_cpu_seconds_total{job=~"(.+/)?gateway"}[$__rate_interval]))', "all nodes"),
            (f"max({k6('generator_lag_p99')})", "timers of k6, 99 of 100"),
            unit="short",
            axis="cores",
            decimals=2,
            other={"^timers": {"unit": "s", "custom.axisPlacement": "right", "custom.fillOpacity": 0}},
        ),
    )


def latencies():
    about = " Of everything since the test began, as k6 has it."
    return Row(
        "How long it takes",
        Lines("From publish to member", "How long until a member has it? It compares clocks of virtual users: on one machine only." + about, *trend("rooms_fanout_duration", *QUANTILES), unit="s"),
        Lines("From request to ack", "How long until an answer?" + about, *trend("sio_ack_duration", *QUANTILES), unit="s"),
        Lines("From dialling to the session", "How long does it take to come in?" + about, *trend("sio_connect_duration", *QUANTILES), unit="s"),
        Lines("Until it was back", "How long was who lost its connection away? Waiting before it dialled again is a part of it." + about, *trend("sio_reconnect_duration", *QUANTILES), unit="s"),
    )


def trouble():
    until = " What it has come to, whenever k6 tells of more."
    return Row(
        "Trouble",
        Bars(
            "Connections that ended",
            "Why did connections end? io_client_disconnect is the scenario's own.",
            (f"sum by (reason) ({rate('sio_disconnects_total')}) > 0", "{{reason}}"),
            unit="cps",
            colors={"^io_client_disconnect$": CALM, "^transport_close$": POOR, "^transport_error$": BAD},
        ),
        Bars(
            "Errors",
            "What went wrong? transport is the network or a refused handshake, protocol something that is none of Socket.IO; handshakes that k6 itself lost are"
            " a k6 that is short of CPU." + until,
            (f"sum by (kind) ({so_far('sio_errors_total')}) > 0", "{{kind}}"),
            (f"sum({so_far('sio_handshakes_missed_total')}) > 0", "handshakes that k6 lost"),
            unit="short",
            colors={"^transport$": POOR, "^protocol$": BAD},
        ),
        Bars(
            "What was not kept",
            "What else went wrong? missed is what a client could not have after it came back, and was told so; contradicted are two offsets for one"
            " publish, or an event that was refused and heard; unanswered publishes had no ack, also when they were sent again." + until,
            *[(f"sum({so_far(f'rooms_{name}_total')}) > 0", name) for name in ("missed", "contradicted", "unanswered")],
            unit="short",
            colors={"^missed$": POOR, "^contradicted$": BAD},
        ),
        Lines(
            "Came back whole",
            "Did who lost its connection get everything? The share that came back with its session, in scenarios in which somebody does.",
            (f"min({k6('sio_recovered_rate')})", "with its session"),
            unit="percentunit",
            max=1,
        ),
    )
