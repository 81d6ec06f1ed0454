"""What the gateway asks and tells back ends, and what they ask of it."""

from model import BAD, CALM, GOOD, POOR, Bars, Board, Lines, Row, quantile


def board():
    return Board(
        "backends",
        "Gateway routes and back ends",
        "Calls of routes, who comes in, the HTTP API, hooks and emitters: how the gateway and back ends fare with each other.",
        [calls(), entry(), api(), hooks(), emitters(), traces()],
    )


def calls():
    return Row(
        "Calls of routes",
        Bars(
            "Calls by result",
            "Do back ends answer? rejected is their no (4xx); failed and timeout are outages of theirs; open are those that were left alone after"
            " failures in a row; overloaded means that more are under way than calls.in_flight.",
            ("sum by (result) (rate(gateway_calls_total)) > 0", "{{result}}"),
            unit="reqps",
            colors={"^rejected$": "yellow", "^postponed$": "purple"},
            alerts=("GatewayBackEndLeftAlone",),
        ),
        Lines(
            "Duration of calls",
            "How long do clients wait for a back end? With further attempts and the waits between them.",
            (quantile("gateway_call_duration_seconds", "0.5"), "half"),
            (quantile("gateway_call_duration_seconds"), "$quantile"),
            unit="s",
        ),
        Lines(
            "Calls under way by node",
            "Do calls pile up? Near calls.in_flight further ones are refused with overloaded.",
            ("topk(10, gateway_calls_in_flight)", "{{instance}}"),
            unit="short",
            whole=True,
        ),
        Bars(
            "Tried again, and left alone",
            "Does a back end fail? Attempts after the first; and how often one was left alone for a while: by all, or by the one user for which it"
            " failed.",
            ("sum(increase(gateway_call_retries_total)) > 0", "attempts after the first"),
            ("sum by (by) (increase(gateway_call_breaker_openings_total)) > 0", "left alone by {{by}}"),
            unit="short",
            colors={"^left alone by all$": BAD, "^left alone by one$": POOR, "^attempts.*": CALM},
            alerts=("GatewayBackEndLeftAlone",),
        ),
        Lines(
            "What is kept",
            "How much memory do kept answers take, on all nodes together?",
            ("sum by (cache) (gateway_cache_bytes)", "{{cache}}"),
            unit="bytes",
        ),
        Bars(
            "Left alone just now",
            "Which back ends are not asked, as they failed in a row? By what they are asked for, on all nodes together: each finds out by itself. It ends"
            " when one attempt is answered.",
            ("sum by (of) (gateway_call_breakers_open) > 0", "{{of}}"),
            unit="short",
            whole=True,
            alerts=("GatewayBackEndLeftAlone",),
        ),
        Bars(
            "Asked for what is kept",
            "Does keeping answers spare back ends and stores? Only a miss asks somebody; shared came from another node, old while another asks anew.",
            ("sum by (cache, result) (rate(gateway_cache_requests_total)) > 0", "{{cache}}: {{result}}"),
            unit="reqps",
            legend="right",
            width=24,
        ),
    )


def entry():
    return Row(
        "Who comes in",
        Bars(
            "What a back end decides",
            "Can clients come in, where auth.hook decides? unavailable is an outage of that back end, and clients come back every second or so; unusable is an"
            " answer that is none of the protocol.",
            ("sum by (answer) (rate(gateway_auth_hook_answers_total)) > 0", "{{answer}}"),
            unit="reqps",
            colors={"^no$": "yellow", "^kept$": CALM},
            alerts=("GatewayEntryUndecided",),
        ),
        Bars(
            "Fetching keys",
            "Does the issuer answer (auth.jwks_url)? After unreachable and unusable the old keys stay; new ones are not known.",
            ("sum by (result) (increase(gateway_jwks_fetches_total)) > 0", "{{result}}"),
            unit="short",
            colors={"^unreachable$": POOR},
            alerts=("GatewayKeysStale",),
        ),
        Lines(
            "Keys, and what was revoked",
            "Do all nodes know the same? Keys of the issuer, and revoked tokens and users: the most and the fewest of a node lie on each other, but for a"
            " moment.",
            ("max(gateway_revocations)", "revocations, most"),
            ("min(gateway_revocations)", "revocations, fewest"),
            ("max(gateway_jwks_keys)", "keys, most"),
            ("min(gateway_jwks_keys)", "keys, fewest"),
            unit="short",
            step=True,
            whole=True,
            alerts=("GatewayRevocationsBehind", "GatewayKeysMissing"),
        ),
    )


def api():
    return Row(
        "HTTP API",
        Bars(
            "Requests by operation",
            "What do back ends ask for? Items of batches count. unknown is none of the API, or was turned away before.",
            ("topk(10, sum by (operation) (rate(gateway_api_requests_total))) > 0", "{{operation}}"),
            unit="reqps",
            legend="right",
            width=16,
        ),
        Bars(
            "Answers by status",
            "Do they get what they ask for? 4xx is theirs, 5xx ours.",
            ("sum by (status) (rate(gateway_api_requests_total)) > 0", "{{status}}"),
            unit="reqps",
        ),
        Lines(
            "Time to the answer",
            "How long do back ends wait? Of a batch as a whole. A question to clients takes as long as the slowest of them, up to its timeout.",
            (quantile("gateway_api_request_duration_seconds", "0.5"), "half"),
            (quantile("gateway_api_request_duration_seconds"), "$quantile"),
            unit="s",
        ),
        Bars(
            "Nobody's, and repeated",
            "Does somebody try keys, and do back ends repeat themselves? Requests without a key or with a wrong one; those with an Idempotency-Key by what"
            " it came to: replayed was answered as before, different is a key that was used for something else.",
            ("sum by (reason) (rate(gateway_api_refused_total)) > 0", "{{reason}}"),
            ("sum by (result) (rate(gateway_api_repeats_total)) > 0", "repeats: {{result}}"),
            unit="reqps",
            legend="right",
            width=16,
        ),
        Bars(
            "Questions to clients",
            "Do clients answer back ends? Questions by how whole the answer was, and clients that were to be asked, by what came.",
            ("sum by (result) (rate(gateway_asks_total)) > 0", "question: {{result}}"),
            ("sum by (answer) (rate(gateway_ask_answers_total)) > 0", "client: {{answer}}"),
            unit="reqps",
            legend="right",
            width=16,
            colors={"whole$": CALM, "taken$": GOOD},
        ),
        Lines(
            "Streams of rooms",
            "How many back ends listen to rooms? Each is a connection to a node.",
            ("sum(gateway_api_streams)", "streams"),
            unit="short",
            whole=True,
        ),
    )


def traces():
    return Row(
        "Traces",
        Bars(
            "Spans by what became of them",
            "Does the collector of traces get what is recorded? Dropped are those that came while too many waited for it, failed those that it did not take.",
            ("sum by (result) (rate(gateway_spans_total)) > 0", "{{result}}"),
            unit="cps",
            colors={"^exported$": CALM, "^(dropped|rejected)$": POOR, "^failed$": BAD},
        ),
    )


def hooks():
    return Row(
        "Hooks",
        Bars(
            "Delivered, and not",
            "Are back ends told? Given up and dropped ones are lost for them: refused by them, late as they waited for hooks.keep, dropped as too many"
            " waited already.",
            ("sum(rate(gateway_hook_events_delivered_total)) > 0", "delivered"),
            ("sum by (reason) (rate(gateway_hook_events_given_up_total)) > 0", "given up: {{reason}}"),
            ("sum(rate(gateway_hook_events_dropped_total)) > 0", "dropped"),
            unit="cps",
            colors={"^given up": BAD},
            alerts=("GatewayHookLoses",),
        ),
        Bars(
            "Attempts by result",
            "Do the back ends of hooks answer? What is not taken is tried again, in its order; open are those that were left alone after failures in a row.",
            ("sum by (result) (rate(gateway_hook_attempts_total)) > 0", "{{result}}"),
            ("sum by (op) (rate(gateway_outbox_errors_total)) > 0", "store: {{op}}"),
            unit="reqps",
            colors={"^store": "purple", "^refused$": "yellow"},
            alerts=("GatewayHookLate",),
        ),
        Lines(
            "Waiting for hooks",
            "Do events pile up, and for how long does the oldest wait, on the right? After hooks.keep it is given up.",
            ("sum(gateway_hook_events_waiting)", "waiting"),
            ("max(gateway_hook_oldest_seconds)", "oldest"),
            unit="short",
            other={"^oldest$": {"unit": "s", "custom.axisPlacement": "right", "custom.fillOpacity": 0}},
            colors={"^waiting$": CALM, "^oldest$": POOR},
            alerts=("GatewayHookLate",),
        ),
    )


def emitters():
    return Row(
        "Emitters",
        Bars(
            "Heard by library and wish",
            "What do back ends emit through Redis? Every node hears what concerns its sessions, so one message counts at several.",
            ("sum by (dialect, what) (rate(gateway_emitters_heard_total)) > 0", "{{dialect}}: {{what}}"),
            unit="ops",
        ),
        Bars(
            "Refused, and lost",
            "Is something not heeded? docs/emitters.md has the reasons; lost came faster than a node could take it.",
            ("sum by (dialect, reason) (increase(gateway_emitters_refused_total)) > 0", "{{dialect}}: {{reason}}"),
            ("sum(increase(gateway_emitters_lost_total)) > 0", "lost"),
            unit="short",
            alerts=("GatewayEmittersRefused",),
        ),
        Lines(
            "Who takes, and how far it is",
            "Does exactly one node take for all what is kept, and the stream? 1 each, but for a moment when the turn goes on. On the right, how old the"
            " stream's entries are when they are taken.",
            ("sum by (of) (gateway_emitters_taking)", "nodes that take {{of}}"),
            ("max(gateway_emitters_stream_behind_seconds)", "stream behind"),
            unit="short",
            step=True,
            whole=True,
            other={"^stream behind$": {"unit": "s", "custom.axisPlacement": "right", "custom.fillOpacity": 0}},
            alerts=("GatewayEmittersNotTaken",),
        ),
    )
