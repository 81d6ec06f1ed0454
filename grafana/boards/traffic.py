"""Who is connected, what is said, how it reaches members, and what is held back."""

from model import BAD, CALM, GOOD, POOR, Bars, Board, Lines, Row, quantile


def board():
    return Board(
        "traffic",
        "Gateway traffic and fan-out",
        "Connections and how they come and go; events, from clients to members; what limits hold back.",
        [clients(), events(), fan_out(), limits(), passing(), operators()],
    )


def clients():
    return Row(
        "Clients",
        Lines(
            "Connections by transport",
            "Do clients get websockets? Official clients begin with polling and upgrade; many that stay with polling are behind a proxy that lets"
            " no websocket through.",
            ("sum by (transport) (gateway_connections)", "{{transport}}"),
            unit="short",
            stack=True,
            colors={"^websocket$": CALM, "^polling$": POOR},
        ),
        Bars(
            "Connections that ended",
            "Why do clients go? client_close is their own wish, transport_close and transport_error a client, network or balancer that was killed,"
            " ping_timeout one that fell silent;"
            " draining, balanced and aged are ours. slow, flooding and bad_packet are about the clients.",
            ("sum by (reason) (rate(gateway_connections_closed_total)) > 0", "{{reason}}"),
            unit="cps",
            colors={"^client_close$": CALM, "^(draining|balanced)$": POOR, "^transport_(close|error)$": BAD, "^(slow|flooding|bad_packet)$": "purple"},
            alerts=("GatewayMassDisconnect",),
        ),
        Lines(
            "Sessions that began",
            "How many come in, by which transport? A peak after a node's end is its clients that come back.",
            ("sum by (transport) (rate(gateway_connections_opened_total))", "{{transport}}"),
            unit="cps",
            stack=True,
            colors={"^websocket$": CALM, "^polling$": POOR},
        ),
        Bars(
            "Handshakes by result",
            "Do clients get as far as the door? busy, capacity, draining and elsewhere send them to other nodes or later (503), rate_limited and"
            " too_many_connections are about their address; bad_request and forbidden_origin will not get better by trying again.",
            ("sum by (result) (rate(gateway_handshakes_total)) > 0", "{{result}}"),
            unit="reqps",
            alerts=("GatewayHandshakeFailures",),
        ),
        Bars(
            "Requests for a session by result",
            "Are they let in? auth is a token that is wrong or has run out, or a back end that said no; too_many are sessions of one user;"
            " unavailable is ours, and clients try again.",
            ("sum by (result) (rate(gateway_connects_total)) > 0", "{{result}}"),
            unit="reqps",
            colors={"^auth$": POOR},
            alerts=("GatewayEntryUndecided",),
        ),
        Bars(
            "What is no request of ours",
            "Who speaks something else, or to the wrong node? request is for a connection that is not here: polls without stickiness, or after a node's"
            " end. PROXY headers of balancers, where they are expected: bad and timeout are balancers that send none.",
            ("sum by (kind) (rate(gateway_bad_requests_total)) > 0", "{{kind}}"),
            ('sum by (result) (rate(gateway_proxy_headers_total{result!~"ok|local"})) > 0', "PROXY header: {{result}}"),
            unit="reqps",
            colors={"^request$": POOR, "^handshake$": "yellow", "^http$": "purple", "^PROXY": BAD},
            alerts=("GatewayRequestsLost",),
        ),
    )


def events():
    return Row(
        "Events",
        Bars(
            "Events received by action",
            "What do clients want? Routes that ran, by what they do. unknown are events without a route: front ends that are newer than the routes.",
            ("sum by (action) (rate(gateway_events_received_total)) > 0", "{{action}}"),
            unit="cps",
            width=12,
            legend="right",
        ),
        Lines(
            "Bytes",
            "How much goes over the wire? Without the heads of HTTP requests and answers; compressed where compression is on.",
            ("sum(rate(gateway_sent_bytes_total))", "sent"),
            ("sum(rate(gateway_received_bytes_total))", "received"),
            unit="Bps",
            width=6,
            colors={"^sent$": GOOD, "^received$": CALM},
        ),
        Lines(
            "From publish to ack",
            "How long does a client wait for its ack, and how much of that is the log? The rest is routes, schemas and the node's queue.",
            (quantile("gateway_publish_duration_seconds", "0.5"), "publish, half"),
            (quantile("gateway_publish_duration_seconds"), "publish, $quantile"),
            (quantile("gateway_log_append_duration_seconds"), "of it the log, $quantile"),
            unit="s",
            width=6,
        ),
    )


def fan_out():
    return Row(
        "Fan-out",
        Lines(
            "Events that reached nodes, and members",
            "How wide do events go? What nodes heard of the rooms that they have members of, once per node, and what they handed to"
            " connections, on the right.",
            ("sum by (kind) (rate(gateway_feed_items_total))", "{{kind}}"),
            ("sum(rate(gateway_events_delivered_total))", "handed over"),
            unit="cps",
            other={"^handed over$": {"custom.axisPlacement": "right", "custom.fillOpacity": 0}},
        ),
        Lines(
            "Receivers of an event",
            "How large are the rooms in which something is said? Deliveries by events and signals, each at each node.",
            ("sum(rate(gateway_events_delivered_total)) / (sum(rate(gateway_feed_items_total)) > 0)", "receivers at a node"),
            unit="short",
            decimals=1,
        ),
        Lines(
            "From taken to delivered",
            "How long until members hear it, through Redis and the node's shards? It includes differences of clocks, so a node that is always off"
            " by the same has a wrong clock.",
            (quantile("gateway_feed_lag_seconds", "0.5"), "half"),
            (quantile("gateway_feed_lag_seconds", "0.95"), "95 of 100"),
            (quantile("gateway_feed_lag_seconds", "0.99"), "99 of 100"),
            unit="s",
            alerts=("GatewayDeliveryBudgetBurn", "GatewayDeliveryBudgetLeak"),
        ),
        Lines(
            "Later than 250 ms by node",
            "Is it all of them, or one? One that is late alone is short of CPU; all together are late for Redis.",
            (
                'topk(10, 1 - sum by (instance) (rate(gateway_feed_lag_seconds_bucket{le="0.25"}))'
                " / (sum by (instance) (rate(gateway_feed_lag_seconds_count)) > 0))",
                "{{instance}}",
            ),
            unit="percentunit",
            soft_max=0.02,
            steps=[(None, GOOD), (0.01, BAD)],
            alerts=("GatewayDeliveryBudgetBurn",),
        ),
        Lines(
            "Rooms, and what is listened to",
            "How many rooms have somebody in them, each counted at each node that has members? Nodes listen for a while to rooms that their last"
            " member has left; much more of those than rooms are rooms that change fast.",
            ("sum(gateway_rooms)", "rooms"),
            ("sum(gateway_subscriptions)", "subscriptions"),
            unit="short",
        ),
    )


def limits():
    return Row(
        "Limits",
        Bars(
            "Refusals by code",
            "What may clients not do, and why? docs/protocol.md says what each code means, and who can do something about it.",
            ("sum by (code) (rate(gateway_refusals_total)) > 0", "{{code}}"),
            unit="cps",
            width=12,
            legend="right",
            alerts=("GatewayFlooded", "GatewayLogFull"),
        ),
        Bars(
            "Denied by limits",
            "Who is too fast? connection_, session_ and address_ limits bound floods, kept_bytes and new_rooms what somebody may fill the log with,"
            " _sender what one may have done. One that denies all day is too low, or somebody's program is in a loop.",
            ('sum by (limiter) (rate(gateway_rate_limit_decisions_total{decision="deny"})) > 0', "{{limiter}}"),
            unit="cps",
            width=12,
            legend="right",
            alerts=("GatewayFlooded",),
        ),
        Lines(
            "Who is remembered by limits",
            "How many addresses, users and sessions do limits remember? Each takes some hundred bytes; much more than there are"
            " connections are addresses that come and go.",
            ("topk(10, sum by (limiter) (gateway_rate_limit_keys)) > 0", "{{limiter}}"),
            unit="short",
        ),
        Lines(
            "Held for clients by node",
            "Do clients read what they get? What waits for them, each packet once, and what they sent in part. The overview has how much that is of"
            " limits.buffered_bytes, above which the slowest are closed.",
            ("topk(10, gateway_buffered_bytes)", "{{instance}}"),
            unit="bytes",
            soft_max=65536,
            alerts=("GatewayBuffersNearLimit",),
        ),
        Bars(
            "Not kept any more",
            "Does the log fill up? What was refused as somebody had filled their share of it, or as it is full for all.",
            (
                'sum by (limiter) (rate(gateway_rate_limit_decisions_total{limiter=~".+_kept_bytes|.+_new_rooms", decision="deny"})) > 0',
                "{{limiter}}",
            ),
            ('sum(rate(gateway_refusals_total{code="log_full"})) > 0', "log_full"),
            unit="cps",
            colors={"^log_full$": BAD},
            alerts=("GatewayLogFull", "GatewayLogNearLimit"),
        ),
    )


def passing():
    return Row(
        "Passed on between nodes",
        Lines(
            "Clients at another node than theirs",
            "How much does the balancer leave to the nodes? Polls that wait for another node, websockets that go on to one, and the connections"
            " for it at the node that has most of them, with how many it may have. 0 with a sticky balancer.",
            ("sum by (transport) (gateway_passing)", "{{transport}}"),
            ("max(gateway_passing_connections)", "connections of one node"),
            ("max(gateway_passing_taken_connections)", "connections to one node"),
            ("min(gateway_passing_connections_limit > 0)", "limit"),
            unit="short",
            whole=True,
        ),
        Bars(
            "Passed on by result",
            "Do requests find their connection? gone: its node has ended, or somebody makes ids up. failed: nodes do not reach each other. refused:"
            " passing.connections. Doors: whoever wanted in as a node, and was none, or came for another one.",
            ("sum by (result) (rate(gateway_passed_on_total)) > 0", "{{result}}"),
            ('sum by (result) (rate(gateway_passing_doors_total{result!="ok"})) > 0', "door: {{result}}"),
            unit="reqps",
            colors={"^answered$": GOOD, "^gone$": POOR, "^failed$": BAD, "^refused$": BAD, "^door": "purple"},
            alerts=("GatewayRequestsLost",),
        ),
        Lines(
            "What passing on takes",
            "How much longer do messages and upgrades of clients take that another node has to answer?",
            (quantile("gateway_passing_duration_seconds", 0.5), "half"),
            (quantile("gateway_passing_duration_seconds", 0.99), "99 %"),
            unit="s",
        ),
    )


def operators():
    return Row(
        "Operators",
        Lines(
            "Who looks",
            "Who is at the admin listeners? Their connections, scrapes among them, and operators that watch live in the namespace /admin.",
            ("sum(gateway_admin_connections)", "connections"),
            ("sum(gateway_operators)", "operators"),
            unit="short",
            whole=True,
        ),
        Bars(
            "Turned away",
            "Does somebody try tokens, or hold connections? Requests with a wrong token, and connections that were ended.",
            ("sum by (reason) (rate(gateway_operators_refused_total)) > 0", "refused: {{reason}}"),
            ("sum by (reason) (rate(gateway_admin_connections_ended_total)) > 0", "ended: {{reason}}"),
            unit="reqps",
        ),
        Lines(
            "Left out of what operators see",
            "Do operators see all that happens to sessions? On a busy node they get a part of it, and the number of the rest.",
            ("sum(rate(gateway_operators_left_out_total))", "left out"),
            unit="cps",
            soft_max=1,
        ),
    )
