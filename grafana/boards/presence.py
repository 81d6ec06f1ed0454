"""Who comes back and gets what it missed, and who is said to be there."""

from model import BAD, CALM, GOOD, POOR, Bars, Board, Lines, Row, quantile


def board():
    return Board(
        "presence",
        "Gateway presence and recovery",
        "Does who comes back get what it missed, and is who is there counted, and nobody else?",
        [recovery(), balancing(), presence(), lifecycle()],
    )


def recovery():
    return Row(
        "Coming back",
        Bars(
            "Recoveries by result",
            "Does who comes back get what it missed? Anything but recovered was told that something is missing, and began anew. unknown and offset came"
            " too late; retention and too_much missed more than is kept or handed over; unavailable is Redis.",
            ("sum by (result) (rate(gateway_recoveries_total)) > 0", "{{result}}"),
            unit="cps",
            colors={"^unknown$": CALM, "^retention$": POOR},
            alerts=("GatewayRecoveryBudgetBurn", "GatewayRecoveryBudgetLeak"),
        ),
        Lines(
            "Duration of recoveries",
            "How long until somebody has what it missed? From asking to having read it, without the way to the client.",
            (quantile("gateway_recovery_duration_seconds", "0.5"), "half"),
            (quantile("gateway_recovery_duration_seconds", "0.99"), "99 of 100"),
            unit="s",
        ),
        Lines(
            "Events handed over",
            "How much is missed? Events read from the log for who came back, or joined with an offset.",
            ("sum(rate(gateway_replayed_events_total))", "handed over"),
            unit="cps",
        ),
        Lines(
            "Waiting for their turn",
            "Do too many come back at once? Replays have turns, small ones first, so that a node's end does not end the others.",
            ("sum by (size) (gateway_replays_waiting)", "{{size}}"),
            unit="short",
            whole=True,
        ),
        Bars(
            "Put off",
            "Was a turn too late? After 10 s, or 30 s for large ones, clients are sent away and come back for it.",
            ("sum(increase(gateway_replays_put_off_total)) > 0", "put off"),
            unit="short",
            colors={"^put off$": POOR},
        ),
        Bars(
            "Errors of the stores",
            "Could sessions not be kept or taken up, or nobody be counted? By what the store failed to do.",
            ("sum by (op) (rate(gateway_session_errors_total)) > 0", "sessions: {{op}}"),
            ("sum by (op) (rate(gateway_presence_errors_total)) > 0", "presence: {{op}}"),
            unit="cps",
            legend="right",
            alerts=("GatewayStoresFail",),
        ),
    )


def balancing():
    return Row(
        "Sent to other nodes",
        Lines(
            "Connections beyond the share",
            "Do nodes have as many clients as they should? Below 0 there is room. After a node joined all come to 0; what stays is somebody whom"
            " balancing waits for, or gave up.",
            ("gateway_balance_surplus", "{{instance}}"),
            unit="short",
        ),
        Bars(
            "Clients moved to other nodes",
            "Are clients moved to where there are fewer, and does it end? State is what most nodes are in.",
            ("sum(rate(gateway_balance_moves_total)) > 0", "moved"),
            ('sum(rate(gateway_handshakes_total{result="elsewhere"})) > 0', "sent on"),
            ('sum by (state) (gateway_balance_state{state=~"stopped|given_up"}) > 0', "nodes {{state}}"),
            unit="cps",
        ),
    )


def presence():
    return Row(
        "Presence",
        Lines(
            "Sessions in places by node",
            "How many are there? A session counts in each room and as a user. A node that was killed vanishes here, and its sessions after its lease.",
            ("sum by (instance) (gateway_presence_entries)", "{{instance}}"),
            unit="short",
            stack=True,
        ),
        Bars(
            "Departures by cause",
            "Why are members said to have gone? left did so; lingered did not come back in time; lease lost their node. Leases that end again and again are"
            " nodes that are too busy to say that they are there.",
            ("sum by (cause) (rate(gateway_presence_departures_total)) > 0", "{{cause}}"),
            unit="cps",
            colors={"^left$": CALM, "^lingered$": "purple", "^lease$": BAD},
            alerts=("GatewayPresenceLeasesLost",),
        ),
        Lines(
            "Still to be told",
            "Does the store of presence know what nodes know? Leavings that failed, and sessions that are to be entered again, as after an outage of"
            " Redis; they go with the next beats.",
            ("sum by (kind) (gateway_presence_pending)", "{{kind}}"),
            unit="short",
            whole=True,
            alerts=("GatewayPresenceBehind",),
        ),
        Bars(
            "Mended",
            "Did the store have something else than the nodes? After an outage it does. Without one, something else changes the keys. begun anew: more"
            " leavings had failed than are kept.",
            ("sum by (what) (increase(gateway_presence_mended_total)) > 0", "{{what}}"),
            ("sum(increase(gateway_presence_restarts_total)) > 0", "begun anew"),
            unit="short",
            colors={"^begun anew$": BAD, "^entered$": CALM, "^taken_out$": POOR},
        ),
    )


def lifecycle():
    return Row(
        "Routes of comings and goings",
        Lines(
            "Waiting, and to run later",
            "Do routes of $connect, $join, $leave and $disconnect keep up? At 4,096 that wait, further ones are dropped, or departures wait in the store;"
            " at 100,000 that are to run later, further ones are left out.",
            ("sum(gateway_lifecycle_waiting)", "waiting"),
            ("sum(gateway_lifecycle_delayed)", "to run after their delay"),
            unit="short",
            whole=True,
        ),
        Bars(
            "Left out",
            "Was somebody not told of a coming or going? delayed: too many were to run later. full: too many waited.",
            ("sum by (reason) (increase(gateway_lifecycle_dropped_total)) > 0", "{{reason}}"),
            unit="short",
            colors={"^delayed$": POOR, "^full$": BAD},
        ),
    )
