"""Pipeline health, for engineers: what runs, what lags, how long events take, what waits."""

from __future__ import annotations

from infra.dashboards.panels import Dashboard, Panel

# By Flink's reporter: of its own operators, and of the workers of `meter` (`udfs/flink.py`).
OPERATOR = "flink_taskmanager_job_task_operator"
WORKER = f"{OPERATOR}_tidemark"
DEAD_LETTERS = f"{WORKER}_reason_deadLetters"
# Two operators have this name: of all events, and of the values of unique meters, which are fewer.
_DEDUPE = '{operator_name=~"Deduplicate_.*"}'
_FLINK = "Flink's reporter must be on."


def _prometheus(title: str, description: str, *queries: tuple[str, str], unit: str = "short") -> Panel:
    return Panel(title, description, "prometheus", queries, unit)


def _rate(metric: str, matchers: str = "") -> str:
    return f"sum(rate({metric}{matchers}[5m]))"


def _quantile(share: float, figure: str, matchers: str = "") -> str:
    return f"histogram_quantile({share}, sum by (le) (rate(tidemark_{figure}_latency_seconds_bucket{matchers}[5m])))"


def _sink(name: str) -> str:
    return f'{{operator_name=~"{name}"}}'


DUPLICATES = (
    f"topk(1, sum by (operator_name) (rate({OPERATOR}_numRecordsIn{_DEDUPE}[5m])))"
    f" - on (operator_name) sum by (operator_name) (rate({OPERATOR}_numRecordsOut{_DEDUPE}[5m]))"
)
_SINCE_ARRIVAL = '{since="arrival"}'

PIPELINE = Dashboard(
    "tidemark-pipeline",
    "Tidemark: pipeline health",
    "now-6h",
    [
        _prometheus(
            "Jobs that run", "1 while Flink says RUNNING. What breaks without each: docs/operations.md#what-must-run.",
            ("max by (job_name) (tidemark_job_running)", "{{job_name}}"),
        ),
        _prometheus(
            "Roles that run well", "1 while some process runs the role; 0 for a minute is an alert.",
            ("max by (role) (tidemark_role_running)", "{{role}}"),
        ),
        _prometheus(
            "Latency, arrival to Redis", "Of sampled events: from Kafka to the counter that readers see.",
            (_quantile(0.5, "live", _SINCE_ARRIVAL), "half"),
            (_quantile(0.99, "live", _SINCE_ARRIVAL), "99 of 100"), unit="s",
        ),
        _prometheus(
            "Latency, to rows and to alerts",
            "From arrival to the row of usage_minute; from the counter in Redis to the alert in the tables.",
            (_quantile(0.5, "stored", _SINCE_ARRIVAL), "row, half"),
            (_quantile(0.99, "stored", _SINCE_ARRIVAL), "row, 99 of 100"),
            (_quantile(0.99, "alert"), "alert, 99 of 100"), unit="s",
        ),
        _prometheus(
            "Lag, age of the oldest record", "Time since the oldest record arrived that a job has not committed.",
            ("max by (job_name, topic) (tidemark_lag_seconds)", "{{job_name}} of {{topic}}"), unit="s",
        ),
        _prometheus(
            "Lag, event time", "Age of the event time of the oldest record that a job has not committed.",
            ("max by (job_name, topic) (tidemark_lag_event_seconds)", "{{job_name}} of {{topic}}"), unit="s",
        ),
        _prometheus(
            "Lag, records", "Records that a job has not committed.",
            ("max by (job_name, topic) (tidemark_lag_records)", "{{job_name}} of {{topic}}"),
        ),
        _prometheus(
            "Checkpoints", "Age of the last checkpoint, and how long it took.",
            ("max by (job_name) (tidemark_checkpoint_age_seconds)", "age, {{job_name}}"),
            ("max by (job_name) (tidemark_checkpoint_duration_seconds)", "duration, {{job_name}}"), unit="s",
        ),
        _prometheus(
            "Events", f"Events a second: counted or copies of such, copies alone, not counted. {_FLINK}",
            (_rate(f"{WORKER}_accepted"), "accepted"),
            (DUPLICATES, "duplicates"),
            (_rate(f"{WORKER}_rejected"), "rejected"),
        ),
        _prometheus(
            "Deltas, ticks, rows", f"A second: deltas, batches of changes (a tick or less), rows of rollups. {_FLINK}",
            (_rate(f"{OPERATOR}_numRecordsSend", _sink("deltas_sink_.*")), "deltas"),
            (_rate(f"{WORKER}_liveBatches"), "ticks"),
            (_rate(f"{OPERATOR}_numRecordsIn", _sink("Sink:_usage_.*")), "rows"),
        ),
        _prometheus(
            "Redis writes", f"Counters a second: written, not newer than Redis has, dropped, limits unknown. {_FLINK}",
            (_rate(f"{WORKER}_liveWritten"), "written"),
            (_rate(f"{WORKER}_liveRefused"), "refused"),
            (_rate(f"{WORKER}_liveDropped"), "dropped"),
            (_rate(f"{WORKER}_limitsUnknown"), "limits unknown"),
        ),
        _prometheus(
            "Dead letters by reason", f"Records a second that became dead letters. {_FLINK}",
            (f"sum by (reason) (rate({DEAD_LETTERS}[5m]))", "{{reason}}"),
        ),
        _prometheus(
            "Age of the catalog", f"Of the oldest that a worker counts by; above catalog.max_age_s it waits. {_FLINK}",
            (f"max({WORKER}_catalogAgeSeconds)", "age"), unit="s",
        ),
        _prometheus(
            "Restarts in 15 minutes", "Restarts of a job by Flink.",
            ("max by (job_name) (delta(tidemark_job_restarts[15m]))", "{{job_name}}"),
        ),
        _prometheus(
            "Failures of roles", "Steps that failed, a second; a role tries again by itself.",
            ("sum by (role) (rate(tidemark_service_failures_total[5m]))", "{{role}}"),
        ),
        _prometheus(
            "Duration of the last step", "How long the last step of the slowest service of each role took.",
            ("max by (role) (tidemark_service_last_duration_seconds)", "{{role}}"), unit="s",
        ),
        _prometheus(
            "Heartbeat in Redis", "Above 60 s readers of limits answer by their policy.",
            ("min(tidemark_live_heartbeat_age_seconds)", "age"), unit="s",
        ),
        _prometheus(
            "Waiting", "Alerts to be taken, notifications to be sent, records to be published or archived.",
            ("min(tidemark_alerts_waiting)", "alerts"),
            ("min(tidemark_notifications_due)", "notifications"),
            ("sum(max by (topic) (tidemark_outbox_pending))", "outbox"),
            ("sum(max by (topic) (tidemark_archive_behind_records))", "archive"),
        ),
        _prometheus(
            "Free disk", "Free share of the disks of state and archive.",
            ("min by (instance, path) (tidemark_disk_free_bytes / tidemark_disk_size_bytes)", "{{path}}, {{instance}}"),
            unit="percentunit",
        ),
    ],
)  # fmt: skip
