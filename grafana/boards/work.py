"""What goes on in the background: jobs, the archive, notifications and mail."""

from model import BAD, CALM, GOOD, POOR, Bars, Board, Lines, Row, quantile



def board():
    return Board(
        "work",
        "Gateway jobs and archive",
        "Is work for later done, does the archive keep up, and are users told?",
        [jobs(), archive(), notifications(), mail()],
    )


def jobs():
    return Row(
        "Jobs",
        Lines(
            "Waiting, and being done",
            "Does work pile up? waiting is due, delayed is for later, active is being done. Waiting that grows wants more workers, or a queue is paused.",
            ("max by (state) (gateway_jobs{state=~\"waiting|delayed|active\"})", "{{state}}"),
            unit="short",
            whole=True,
            colors={"^waiting$": POOR, "^active$": GOOD, "^delayed$": CALM},
            alerts=("GatewayJobsLate",),
        ),
        Lines(
            "Failed for good, and paused",
            "Has somebody to act? Jobs that failed as often as they may wait for somebody to try them again or remove them; paused queues stand still.",
            ('max(gateway_jobs{state="failed"})', "failed for good"),
            ("max(gateway_job_queues_paused)", "paused queues"),
            unit="short",
            step=True,
            whole=True,
            colors={"^failed for good$": BAD, "^paused queues$": POOR},
            alerts=("GatewayJobsDead",),
        ),
        Lines(
            "Late",
            "Is work done when it is due? For how long the job that is next has been due, in the queue where that is longest.",
            ("max(gateway_jobs_lag_seconds)", "next job"),
            unit="s",
            soft_max=10,
            alerts=("GatewayJobsLate",),
        ),
        Bars(
            "Attempts by outcome",
            "Is work done, or does it fail? failed is tried again, dead is not; cut_off are those whose node stopped or was lost.",
            ("sum by (outcome) (rate(gateway_jobs_done_total)) > 0", "{{outcome}}"),
            unit="cps",
            colors={"^failed$": POOR, "^dead$": BAD, "^cut_off$": "purple"},
            alerts=("GatewayJobsDead",),
        ),
        Bars(
            "Attempts by kind",
            "What is being done? absent looks after who is away, schedule is a tick of the clock, other is done by nobody here.",
            ("sum by (kind) (rate(gateway_jobs_done_total)) > 0", "{{kind}}"),
            unit="cps",
        ),
        Bars(
            "What fails",
            "Which work fails? Attempts that were not done, by kind: http are back ends, mail the mail server, publish and notify Redis and the database.",
            ('sum by (kind) (rate(gateway_jobs_done_total{outcome!="done"})) > 0', "{{kind}}"),
            unit="cps",
            alerts=("GatewayJobsDead",),
        ),
        Lines(
            "Duration of attempts",
            "How long do jobs take? With jobs.workers at a time they bound what can be done in a second.",
            (quantile("gateway_job_duration_seconds", "0.5"), "half"),
            (quantile("gateway_job_duration_seconds", "0.99"), "99 of 100"),
            width=12,
            unit="s",
        ),
        Lines(
            "Who works",
            "Do all nodes take part? Jobs that each does just now.",
            ("topk(10, sum by (instance) (gateway_jobs_running))", "{{instance}}"),
            width=12,
            unit="short",
            whole=True,
            stack=True,
        ),
        Bars(
            "Enqueued",
            "Where does work come from? known had its id before, refused was too much, too fast or wrong.",
            ("sum by (by, result) (rate(gateway_jobs_enqueued_total)) > 0", "{{by}}: {{result}}"),
            ("sum by (result) (rate(gateway_schedule_ticks_total{result!=\"known\"})) > 0", "schedules: {{result}}"),
            width=12,
            unit="cps",
        ),
        Bars(
            "Handed back, missed, and errors",
            "What goes wrong around jobs? Handed back are those that a node did not finish before it stopped; ticks of schedules are missed when nobody"
            " is there; op is what the store of jobs failed to do.",
            ("sum(increase(gateway_jobs_handed_back_total)) > 0", "handed back"),
            ('sum by (result) (increase(gateway_schedule_runs_total{result!="done"})) > 0', "run of a schedule: {{result}}"),
            ("sum by (op) (increase(gateway_job_errors_total)) > 0", "store: {{op}}"),
            width=12,
            unit="short",
            alerts=("GatewayJobsLate",),
        ),
    )


def archive():
    return Row(
        "Database and archive",
        Lines(
            "Nodes that reach the database",
            "Does the database answer? Nodes that reach it, and all that are scraped; without a database configured both are the same.",
            ("count(gateway_database_up)", "scraped"),
            ("sum(gateway_database_up)", "reach it"),
            unit="short",
            step=True,
            whole=True,
            colors={"^scraped$": "text", "^reach it$": GOOD},
            alerts=("GatewayDatabaseAway",),
        ),
        Lines(
            "Behind",
            "Does the archive keep up? Events that wait for it, and for how long the oldest does, on the right.",
            ("max(gateway_archive_waiting)", "waiting"),
            ("max(gateway_archive_lag_seconds)", "oldest"),
            unit="short",
            other={"^oldest$": {"unit": "s", "custom.axisPlacement": "right", "custom.fillOpacity": 0}},
            colors={"^waiting$": CALM, "^oldest$": POOR},
            alerts=("GatewayArchiveLate",),
        ),
        Lines(
            "Behind, by Redis",
            "Of several Redis, whose log is archived too slowly? Events that wait, and for how long the oldest does, on the right.",
            ("max by (redis) (gateway_redis_archive_waiting)", "waiting, {{redis}}"),
            ("max by (redis) (gateway_redis_archive_lag_seconds)", "oldest, {{redis}}"),
            unit="short",
            other={"^oldest": {"unit": "s", "custom.axisPlacement": "right", "custom.fillOpacity": 0}},
            alerts=("GatewayArchiveLate",),
        ),
        Lines(
            "Archived, and forgotten",
            "How much is kept, and how much goes for its age?",
            ("sum(rate(gateway_archive_events_total))", "archived"),
            ("sum(rate(gateway_archive_forgotten_total))", "forgotten"),
            unit="cps",
        ),
        Lines(
            "Duration of writes",
            "How long does the database take for a batch?",
            (quantile("gateway_archive_write_duration_seconds", "0.5"), "half"),
            (quantile("gateway_archive_write_duration_seconds", "0.99"), "99 of 100"),
            unit="s",
        ),
        Bars(
            "Gaps and errors",
            "Is something missing in the archive? Gaps are for good, and the log of the nodes says where; errors are tried again.",
            ("sum by (why) (increase(gateway_archive_gaps_total)) > 0", "gap: {{why}}"),
            ("sum by (op) (increase(gateway_archive_errors_total)) > 0", "error: {{op}}"),
            unit="short",
            colors={"^gap": BAD, "^error": POOR},
            alerts=("GatewayArchiveGap", "GatewayDatabaseAway"),
        ),
        Bars(
            "Pages read",
            "Who reads old messages, and were they whole? incomplete lacks what is missing, or still on its way.",
            ("sum by (result) (rate(gateway_archive_reads_total)) > 0", "{{result}}"),
            unit="reqps",
            colors={"^incomplete$": POOR},
        ),
    )


def notifications():
    return Row(
        "Notifications",
        Bars(
            "Told",
            "What are users told, and by whom? duplicate had its id before; live is not kept, as there is no database.",
            ("sum by (by, result) (rate(gateway_notifications_total)) > 0", "{{by}}: {{result}}"),
            unit="cps",
        ),
        Bars(
            "Pushed, read, and gone",
            "Do users hear of them, and read them? failed pushes are found when they are read. gone are those that are kept no more.",
            ("sum by (result) (rate(gateway_notification_pushes_total)) > 0", "pushed: {{result}}"),
            ("sum(rate(gateway_notifications_read_total)) > 0", "read"),
            ("sum by (reason) (rate(gateway_notifications_gone_total)) > 0", "gone: {{reason}}"),
            unit="cps",
        ),
        Bars(
            "Requests of users",
            "What do users ask for over HTTP, and do they get it? Requests at /api/notifications by status.",
            ("sum by (operation, status) (rate(gateway_notification_requests_total)) > 0", "{{operation}} {{status}}"),
            unit="reqps",
            colors={"4xx$": POOR, "5xx$": BAD},
        ),
        Bars(
            "Too fast, and errors",
            "Are notifications refused or not kept? Denied as somebody sent, or got, too many; and what the database failed to do.",
            ('sum by (limiter) (increase(gateway_rate_limit_decisions_total{limiter=~"notification_.*", decision="deny"})) > 0', "{{limiter}}"),
            ("sum by (op) (increase(gateway_notification_errors_total)) > 0", "store: {{op}}"),
            unit="short",
            colors={"^store": BAD},
            alerts=("GatewayNotificationsFail",),
        ),
    )


def mail():
    return Row(
        "Mail",
        Bars(
            "Mails, and triggers of Novu",
            "Do mails go out? failed ones are tried again, refused ones are not; repeated were sent a moment ago and left out.",
            ("sum by (result) (rate(gateway_mails_total)) > 0", "mail: {{result}}"),
            ("sum by (result) (rate(gateway_novu_triggers_total)) > 0", "Novu: {{result}}"),
            unit="cps",
        ),
        Lines(
            "Duration of mails",
            "How long does the mail server take?",
            (quantile("gateway_mail_duration_seconds", "0.5"), "half"),
            (quantile("gateway_mail_duration_seconds", "0.99"), "99 of 100"),
            unit="s",
        ),
        Bars(
            "Mail for who is away",
            "Who gets a mail for being away? Only mailed; there and heard have it already, later are asked again, unsubscribed and no_address get none."
            " store is what the store of addresses failed to do.",
            ("sum by (result) (rate(gateway_absent_total)) > 0", "{{result}}"),
            ("sum by (op) (rate(gateway_contact_errors_total)) > 0", "store: {{op}}"),
            unit="cps",
            colors={"^store": BAD, "^mailed$": GOOD, "^heard$": CALM, "^there$": "purple"},
        ),
        Bars(
            "Mail and jobs that pages ask for",
            "What do front ends ask for over HTTP, and do they get it? 4xx is too fast, not allowed or wrong, 5xx ours.",
            ("sum by (operation, status) (rate(gateway_job_requests_total)) > 0", "{{operation}} {{status}}"),
            unit="reqps",
            colors={"2xx$": GOOD, "4xx$": POOR, "5xx$": BAD},
        ),
    )
