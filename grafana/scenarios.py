"""Scenarios in which nobody is called: deployments that are well, that have one bad moment, or whose nodes are replaced.

They have every metric that rules read. The rules' own tests say when an alert fires; check.py runs these with all rules at
once, and there may be no alert at all.
"""

STEP = 30  # seconds between samples
LENGTH = 170  # samples
MOMENT = 135  # the one in which something goes wrong
DRAIN = 2  # for so many samples a node drains that is replaced
AWAY = 1  # and for so many it is not there

# What grows by so much in a step, and by how much more in a bad moment. What is lost for good (gaps that could not be
# filled, keys that Redis threw away) is no moment: it has an alert of its own for the first time that it happens.
COUNTERS = {
    'gateway_events_received_total{action="publish"}': (1500, 0),
    'gateway_api_requests_total{operation="publish",status="2xx"}': (30, 0),
    'gateway_log_errors_total{op="append"}': (0, 1),
    'gateway_refusals_total{code="log_full"}': (0, 1),
    'gateway_feed_lag_seconds_count': (1500, 100),
    'gateway_feed_lag_seconds_bucket{le="0.25"}': (1495, 0),
    'gateway_feed_lag_seconds_bucket{le="+Inf"}': (1500, 100),
    'gateway_feed_gaps_total{result="filled"}': (0, 1),
    'gateway_feed_gaps_total{result="lost"}': (0, 0),
    'gateway_recoveries_total{result="recovered"}': (15, 0),
    'gateway_recoveries_total{result="unknown"}': (3, 0),
    'gateway_recoveries_total{result="interrupted"}': (0, 3),
    'gateway_connections_closed_total{transport="websocket",reason="client_close"}': (15, 0),
    'gateway_connections_closed_total{transport="websocket",reason="transport_error"}': (1, 60),
    'gateway_handshakes_total{result="ok"}': (30, 0),
    'gateway_handshakes_total{result="bad_request"}': (0, 2000),
    'gateway_bad_requests_total{kind="request"}': (0, 3000),
    'gateway_rate_limit_decisions_total{limiter="connection_packets",decision="deny"}': (0, 100),
    'gateway_redis_distrusted_total{reason="replica"}': (0, 2),
    'gateway_drain_overruns_total': (0, 0),
    'gateway_hook_events_dropped_total': (0, 0),
    'gateway_hook_events_given_up_total{reason="late"}': (0, 0),
    'gateway_archive_gaps_total{why="dropped"}': (0, 0),
    'gateway_session_errors_total{op="save"}': (0, 5),
    'gateway_presence_errors_total{op="beat"}': (0, 5),
    'gateway_revocation_errors_total{op="load"}': (0, 5),
    'gateway_notification_errors_total{op="add"}': (0, 50),
    'gateway_emitters_refused_total{dialect="python",reason="malformed"}': (0, 20),
    'gateway_jwks_fetches_total{result="ok"}': (0.025, 0),
    'gateway_jwks_fetches_total{result="unreachable"}': (0, 1),
    'gateway_auth_hook_answers_total{answer="yes"}': (15, 0),
    'gateway_auth_hook_answers_total{answer="unavailable"}': (0, 100),
    'gateway_presence_departures_total{cause="lease"}': (0, 300),
    'redis_evicted_keys_total': (0, 0),
}
# What has a value, and another one in a bad moment.
GAUGES = {
    'up': (1, 0),
    'process_start_time_seconds': (1000, 1000),
    'process_open_fds': (600, 900),
    'process_max_fds': (1000, 1000),
    'gateway_build_info{version="1",revision="a"}': (1, 1),
    'gateway_works_only': (0, 0),
    'gateway_connections{transport="websocket"}': (500, 500),
    'gateway_connections_limit': (600, 600),
    'gateway_draining': (0, 0),
    'gateway_call_breakers_open{of="routes"}': (0, 2),
    'gateway_redis_unsafe{setting="eviction"}': (0, 1),
    'gateway_redis_disagreement': (0, 1),
    'gateway_bus_connected': (1, 0),
    'gateway_canary_silence_seconds': (1, 15),
    'gateway_buffered_bytes': (10, 90),
    'gateway_buffered_bytes_limit': (100, 100),
    'gateway_log_bytes': (70, 90),
    'gateway_log_bytes_limit': (100, 100),
    'gateway_hook_oldest_seconds': (1, 400),
    'gateway_database_up': (1, 0),
    'gateway_jobs{state="failed"}': (0, 1),
    'gateway_jobs_lag_seconds': (1, 400),
    'gateway_archive_lag_seconds': (1, 400),
    'gateway_jwks_keys': (2, 0),
    'gateway_revocations': (7, 6),
    'gateway_presence_pending{kind="leavings"}': (0, 30),
    'redis_memory_used_bytes': (70, 95),
    'redis_memory_max_bytes': (100, 100),
    'redis_aof_last_write_status': (1, 0),
    'redis_aof_last_bgrewrite_status': (1, 0),
    'redis_rdb_last_bgsave_status': (1, 0),
}
# Of the whole deployment: how many nodes there are, and who has the turn.
TURN = 'gateway_emitters_taking{of="stream"}'
NODES = "gateway_cluster_nodes"


def labelled(name, labels):
    """The series of a metric with further labels."""
    name, _, rest = name.rstrip("}").partition("{")
    return f"{name}{{{','.join(filter(None, [labels, rest]))}}}"


def of_node(labels, first, bad):
    """The series of a node in a deployment without faults, or with a bad moment."""
    series = {}
    for name, (step, more) in COUNTERS.items():
        series[labelled(name, labels)] = [at * step + (more if bad and at >= MOMENT else 0) for at in range(LENGTH)]
    for name, (value, moment) in GAUGES.items():
        series[labelled(name, labels)] = [moment if bad and at == MOMENT else value for at in range(LENGTH)]
    series[labelled(TURN, labels)] = [int(first) for _ in range(LENGTH)]
    return series


def deployment(namespace, nodes, bad=()):
    """The series of a deployment, and of the Redis behind it; `bad` are the nodes that have a bad moment."""
    all_series = {}
    for number in range(nodes):
        labels = f'namespace="{namespace}",job="gateway",instance="{namespace}{number}"'
        series = of_node(labels, number == 0, number in bad)
        series[labelled(NODES, labels)] = [nodes - 1 if bad and at == MOMENT else nodes for at in range(LENGTH)]
        for name, values in series.items():
            is_redis = name.startswith("redis_")
            all_series[name.replace('job="gateway"', 'job="gateway-redis"') if is_redis else name] = values
    return all_series


def rollout(namespace, nodes):
    """One node after the other drains for a minute, is gone for half of one, and comes back as another version, at 0."""
    series = deployment(namespace, nodes)
    leaves = [40 + 30 * number for number in range(nodes)]
    for name, values in list(series.items()):
        if name.startswith("redis_"):
            continue
        number = next(number for number in range(nodes) if f'instance="{namespace}{number}"' in name)
        gone = leaves[number]
        back = gone + AWAY
        metric = name.partition("{")[0]
        before, after = values[:gone], values[back:]
        if metric == "process_start_time_seconds":
            after = [2000 for _ in after]
        if metric.endswith(("_total", "_count", "_bucket")):
            after = [value - values[back] for value in after]
        if metric == "gateway_draining":
            before = before[:-DRAIN] + [1] * DRAIN
        if metric == "gateway_connections":
            # Its clients go to the others, from where nobody comes back.
            before = before[:-DRAIN] + [200] * DRAIN
            after = [min(500, 100 * at) for at in range(len(after))]
        if metric == NODES:
            # It is not counted by the others from its drain until it is back.
            before, after = ([counted(at, nodes, leaves) for at in span] for span in (range(gone), range(back, LENGTH)))
        if metric == "gateway_emitters_taking":
            # The turn goes on whenever who has it drains.
            turns = [sum(at >= leave - DRAIN for leave in leaves) % nodes == number for at in range(LENGTH)]
            before, after = ([int(turns[at]) for at in span] for span in (range(gone), range(back, LENGTH)))
        if metric == "up":
            series[name] = before + [0] * AWAY + after
        elif metric == "gateway_build_info":
            series[name] = before + [None] * (LENGTH - gone)
            series[name.replace('version="1",revision="a"', 'version="2",revision="b"')] = [None] * back + after
        else:
            series[name] = before + [None] * AWAY + after
    return series


def counted(at, nodes, leaves):
    """How many nodes say that they take clients."""
    return nodes - sum(1 for gone in leaves if gone - DRAIN <= at < gone + AWAY)


def as_test(rule_files):
    """All of them beside each other as one test for promtool: at the end there has been no alert."""
    series = deployment("well", 1) | rollout("rollout", 3)
    series |= deployment("one", 3, bad=(1,)) | deployment("all", 3, bad=(0, 1, 2))
    lines = [f"rule_files: [{', '.join(rule_files)}]", f"evaluation_interval: {STEP}s", "tests:"]
    lines += [f"  - interval: {STEP}s", "    input_series:"]
    for labels, values in series.items():
        lines += [f"      - series: '{labels}'", f"        values: '{shown(values)}'"]
    alerts = f'group by (alertname, namespace) (last_over_time(ALERTS{{alertstate="firing"}}[{STEP * LENGTH}s]))'
    lines += ["    promql_expr_test:", f"      - expr: {alerts}"]
    lines += [f"        eval_time: {STEP * (LENGTH - 1)}s", "        exp_samples: []"]
    return "\n".join(lines) + "\n"


def shown(values):
    """Values as promtool reads them. Of a target that is gone Prometheus says so at once."""
    words = []
    for before, value in zip([None, *values], values):
        words.append(f"{value:g}" if value is not None else "_" if before is None else "stale")
    return " ".join(words)
