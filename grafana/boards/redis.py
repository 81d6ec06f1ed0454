"""What is between the nodes: Redis as they see it, what it keeps for them, and who is in the cluster."""

from model import BAD, CALM, GOOD, POOR, Bars, Board, Lines, Row, Stat, quantile

# redis_exporter is a job of its own, and knows no nodes.
OF_REDIS = '{namespace=~"$namespace", job=~"(.+/)?gateway-redis"}'


def board():
    return Board(
        "redis",
        "Gateway Redis and cluster",
        "Do the nodes hear each other through Redis, does it keep what it is given, and who is in the cluster?",
        [seen(), kept(), cluster(), own()],
    )


def seen():
    return Row(
        "Redis as nodes see it",
        Lines(
            "Nodes that hear Redis",
            "Is a node cut off? Nodes that hear Redis, and all that are scraped: the two lines lie on each other.",
            ("count(gateway_bus_connected)", "scraped"),
            ("sum(gateway_bus_connected)", "hear Redis"),
            unit="short",
            step=True,
            whole=True,
            colors={"^scraped$": "text", "^hear Redis$": GOOD},
            alerts=("GatewayBusDisconnected", "GatewayNodeDeaf"),
        ),
        Lines(
            "Each Redis",
            "Of several Redis, which is away? Nodes that hear each, by its name in the configuration (redis.of); main has all namespaces that no"
            " other has. What is away stops its own namespaces alone.",
            ("sum by (redis) (gateway_redis_connected)", "{{redis}}"),
            unit="short",
            step=True,
            whole=True,
            alerts=("GatewayBusDisconnected", "GatewayRedisDisagreement"),
        ),
        Lines(
            "Silence by Redis",
            "When did nodes hear themselves last through each Redis? The longest silence of all nodes; and 1 while nodes have different Redis for one"
            " namespace, which must not be.",
            ("max by (redis) (gateway_redis_canary_silence_seconds)", "{{redis}}"),
            ("max(gateway_redis_disagreement) > 0", "nodes disagree"),
            unit="s",
            soft_max=3,
            alerts=("GatewayNodeDeaf", "GatewayRedisDisagreement"),
        ),
        Lines(
            "Way through Redis and back",
            "How long is the way that all events take? Each node sends itself a signal every second. If it takes long, Redis or the network is slow;"
            " if it does not, and deliveries are late, nodes are.",
            (quantile("gateway_canary_lag_seconds", "0.5"), "half"),
            (quantile("gateway_canary_lag_seconds", "0.99"), "99 of 100"),
            unit="s",
            alerts=("GatewayDeliveryBudgetBurn",),
        ),
        Lines(
            "Silence by node",
            "When did each node hear itself last? Up to a second is well. A silence that grows on one node is its connection, on all of them Redis.",
            ("topk(10, gateway_canary_silence_seconds)", "{{instance}}"),
            unit="s",
            soft_max=3,
            alerts=("GatewayNodeDeaf", "GatewayBusDisconnected"),
        ),
        Lines(
            "Appending",
            "How long does the log take to append? Those that come in the same moment share a pipeline.",
            (quantile("gateway_log_append_duration_seconds", "0.5"), "half"),
            (quantile("gateway_log_append_duration_seconds", "0.99"), "99 of 100"),
            unit="s",
            alerts=("GatewayPublishBudgetBurn",),
        ),
        Bars(
            "Connections made anew",
            "Does Redis, or the network to it, break? Reconnects of the bus; and how often nodes left a Redis because it was not the primary, by what"
            " gave it away, as in a failover.",
            ("sum(increase(gateway_bus_reconnects_total)) > 0", "reconnects"),
            ("sum by (reason) (increase(gateway_redis_distrusted_total)) > 0", "left: {{reason}}"),
            unit="short",
            colors={"^reconnects$": CALM},
            alerts=("GatewayRedisFlapping",),
        ),
        Bars(
            "Interruptions",
            "Did somebody miss something? filled: read from the log, so nobody did. lost: clients were told that something is missing. dropped are"
            " messages that came faster than the node took them, and are read again.",
            ("sum by (result) (increase(gateway_feed_gaps_total)) > 0", "{{result}}"),
            ("sum(increase(gateway_feed_gap_rounds_total)) > 0", "rounds of reading"),
            ("sum(increase(gateway_bus_dropped_total)) > 0", "messages dropped"),
            unit="short",
            colors={"^rounds of reading$": CALM, "^messages dropped$": POOR},
            alerts=("GatewayGapLost",),
        ),
        Bars(
            "Errors of the log",
            "What does Redis not do? append are publishes that were refused; subscribe are rooms that a node does not hear yet; read is history and"
            " what clients missed; mark the node's own signal.",
            ("sum by (op) (rate(gateway_log_errors_total)) > 0", "{{op}}"),
            unit="cps",
            alerts=("GatewayPublishBudgetBurn",),
        ),
        Bars(
            "Errors of other stores",
            "What else does not work without Redis, or though it is there? Sessions are for coming back, presence for who is counted, revocations for tokens"
            " that were taken back, answers for what nodes share of back ends.",
            ("sum by (op) (rate(gateway_session_errors_total)) > 0", "sessions: {{op}}"),
            ("sum by (op) (rate(gateway_presence_errors_total)) > 0", "presence: {{op}}"),
            ("sum by (op) (rate(gateway_revocation_errors_total)) > 0", "revocations: {{op}}"),
            ("sum by (op) (rate(gateway_answer_errors_total)) > 0", "answers: {{op}}"),
            unit="cps",
            width=16,
            legend="right",
            alerts=("GatewayStoresFail",),
        ),
    )


def kept():
    return Row(
        "What it keeps",
        Lines(
            "What the log keeps",
            "Does it fit? With Redis this is all that Redis uses. At the limit (log.max_bytes) publishes of clients are refused with log_full.",
            ("max(gateway_log_bytes)", "kept"),
            ("max(gateway_log_bytes_limit > 0)", "limit"),
            unit="bytes",
            calcs=["lastNotNull"],
            other={"^limit$": {"custom.lineStyle": {"fill": "dash", "dash": [6, 6]}, "custom.fillOpacity": 0}},
            colors={"^limit$": BAD},
            alerts=("GatewayLogNearLimit", "GatewayLogFull"),
        ),
        Lines(
            "What each Redis keeps",
            "Of several Redis, which gets full? All that each uses, as a share of where publishes to its namespaces are refused; without a limit nothing.",
            ("max by (redis) (gateway_redis_log_bytes / (gateway_redis_log_bytes_limit > 0))", "{{redis}}"),
            unit="percentunit",
            alerts=("GatewayLogNearLimit", "GatewayLogFull"),
        ),
        Lines(
            "New rooms",
            "How many rooms begin? Each takes some hundred bytes for as long as the log keeps it; many are often one for each message, by mistake.",
            ("sum(rate(gateway_log_new_rooms_total))", "new rooms"),
            unit="cps",
        ),
        Stat(
            "Unsafe settings",
            "Does Redis put what it keeps at risk? eviction: it may throw away what clients have not read. persistence: a restart loses the log."
            " unbounded: it may grow until the system ends it. unknown: the gateway may not look.",
            ("max by (setting) (gateway_redis_unsafe) > 0", "{{setting}}"),
            unit="short",
            width=8,
            height=8,
            graph="none",
            color_mode="background",
            text_mode="name",
            noValue="none",
            steps=[(None, GOOD), (1, POOR)],
            alerts=("GatewayRedisUnsafe",),
        ),
    )


def cluster():
    return Row(
        "Nodes",
        Lines(
            "Nodes that see each other",
            "Is the cluster whole? What is scraped and takes clients, and how many nodes the others see: the most and the fewest of one. They differ"
            " for seconds while nodes come and go.",
            ("count(gateway_build_info) - sum(gateway_works_only)", "scraped"),
            ("max(gateway_cluster_nodes)", "seen, at the most"),
            ("min(gateway_cluster_nodes)", "seen, at least"),
            ("min(gateway_hearing_peers) + 1", "say that they hear, at least"),
            ("min(gateway_passing_nodes) > 0", "find each other to pass on, at least"),
            unit="short",
            step=True,
            whole=True,
            alerts=("GatewayClusterSplit",),
        ),
        Bars(
            "Draining, deaf, or only working",
            "Which nodes take no clients, and why? Draining ones stop; deaf ones hear nothing although others do; those that only work (gateway work)"
            " never do. Drains that overran had clients left when drain.timeout was over; these lost their connection at once.",
            ("sum(gateway_draining) > 0", "draining"),
            ("max(increase(gateway_drain_overruns_total)) > 0", "drains that overran"),
            ("sum(gateway_deaf) > 0", "deaf"),
            ("sum(gateway_works_only) > 0", "only work"),
            ("sum(increase(gateway_deaf_drains_total)) > 0", "handed clients over as it was deaf"),
            unit="short",
            whole=True,
            colors={"^draining$": POOR, "^drains that overran$": "purple", "^deaf$": BAD, "^only work$": CALM},
            alerts=("GatewayNodeDeaf", "GatewayDrainOverrun", "GatewayDrainCutShort"),
        ),
        Bars(
            "Versions",
            "Which versions run, and did a deployment come to its end? Nodes by version and revision.",
            ("count by (version, revision) (gateway_build_info)", "{{version}} {{revision}}"),
            unit="short",
            whole=True,
            alerts=("GatewayVersionsDiffer",),
        ),
        Lines(
            "Format that nodes write",
            "Did an upgrade come to its end? Nodes write the newest format that all others read, so this rises when the last old one is gone.",
            ("max(gateway_format)", "newest"),
            ("min(gateway_format)", "oldest"),
            unit="short",
            step=True,
            whole=True,
            alerts=("GatewayVersionsDiffer",),
        ),
        Lines(
            "Up for",
            "Do nodes restart? How long each has been running, of the ten that began last: a saw is a loop of crashes.",
            ("bottomk(10, time() - process_start_time_seconds)", "{{instance}}"),
            unit="s",
            alerts=("GatewayCrashLoop",),
        ),
    )


def own():
    about = " Needs redis_exporter in a job gateway-redis: see grafana/README.md."
    return Row(
        "Redis as redis_exporter sees it",
        Lines(
            "Memory of Redis",
            "Does Redis have room? What it uses, and what it may (maxmemory). Without a limit the system's memory is one." + about,
            (f"max(redis_memory_used_bytes{OF_REDIS})", "used"),
            (f"max(redis_memory_max_bytes{OF_REDIS} > 0)", "maxmemory"),
            unit="bytes",
            calcs=["lastNotNull"],
            other={"^maxmemory$": {"custom.lineStyle": {"fill": "dash", "dash": [6, 6]}, "custom.fillOpacity": 0}},
            colors={"^maxmemory$": BAD},
            alerts=("GatewayRedisMemoryNearLimit",),
        ),
        Lines(
            "Commands",
            "How busy is Redis? It does one at a time: some 100,000 a second are all that a core can do." + about,
            (f"sum(rate(redis_commands_processed_total{OF_REDIS}[$__rate_interval]))", "commands"),
            unit="ops",
        ),
        Lines(
            "CPU of Redis",
            "Is Redis out of CPU? At 1 its one thread is busy all the time and everything waits." + about,
            (f"sum(rate(redis_cpu_user_seconds_total{OF_REDIS}[$__rate_interval]))", "user"),
            (f"sum(rate(redis_cpu_sys_seconds_total{OF_REDIS}[$__rate_interval]))", "system"),
            unit="short",
            axis="cores",
            decimals=2,
            stack=True,
            soft_max=0.5,
        ),
        Lines(
            "Clients of Redis",
            "Who is connected to it, and does it make somebody wait? A node has a few connections, no more with more clients." + about,
            (f"sum(redis_connected_clients{OF_REDIS})", "connected"),
            (f"sum(redis_blocked_clients{OF_REDIS})", "waiting for something"),
            unit="short",
            whole=True,
        ),
        Bars(
            "Thrown away, and not written",
            "Does Redis lose something? Keys that it evicted, and whether the last write of its file, or of a new one, failed." + about,
            (f"sum(increase(redis_evicted_keys_total{OF_REDIS}[$__rate_interval])) > 0", "evicted keys"),
            (f"sum(redis_aof_last_write_status{OF_REDIS} == bool 0) > 0", "AOF write failed"),
            (f"sum(redis_aof_last_bgrewrite_status{OF_REDIS} == bool 0) > 0", "AOF rewrite failed"),
            (f"sum(redis_rdb_last_bgsave_status{OF_REDIS} == bool 0) > 0", "snapshot failed"),
            unit="short",
            colors={"^evicted": BAD, "failed$": POOR},
            alerts=("GatewayRedisEvicts", "GatewayRedisNotWritten"),
        ),
        Lines(
            "Up for",
            "Did Redis restart? Since when it has been running." + about,
            (f"min(redis_uptime_in_seconds{OF_REDIS})", "Redis"),
            unit="s",
        ),
    )
