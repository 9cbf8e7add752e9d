"""Pipeline health, for engineers: what runs, what lags, what waits."""

from __future__ import annotations

from infra.dashboards.panels import Dashboard, Panel

# Counted by the workers of `meter`, `udfs/flink.py`.
DEAD_LETTERS = "flink_taskmanager_job_task_operator_tidemark_reason_deadLetters"


def _prometheus(title: str, description: str, *queries: tuple[str, str], unit: str = "short") -> Panel:
    return Panel(title, description, "prometheus", queries, unit)


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
            "Lag, age of the oldest record", "Time since the oldest record arrived that a job has not committed.",
            ("max by (job_name, topic) (tidemark_lag_seconds)", "{{job_name}} of {{topic}}"), unit="s",
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
            "Restarts in 15 minutes", "Restarts of a job by Flink.",
            ("max by (job_name) (delta(tidemark_job_restarts[15m]))", "{{job_name}}"),
        ),
        _prometheus(
            "Failures of roles", "Steps that failed, a second; a role tries again by itself.",
            ("sum by (role, service) (rate(tidemark_service_failures_total[5m]))", "{{role}}/{{service}}"),
        ),
        _prometheus(
            "Duration of the last step", "How long the last step of each service took.",
            ("max by (role, service) (tidemark_service_last_duration_seconds)", "{{role}}/{{service}}"), unit="s",
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
            "Dead letters by reason", "Records a second that became dead letters (Flink's reporter must be on).",
            (f"sum by (reason) (rate({DEAD_LETTERS}[5m]))", "{{reason}}"),
        ),
        _prometheus(
            "Free disk", "Free share of the disks of state and archive.",
            ("min by (instance, path) (tidemark_disk_free_bytes / tidemark_disk_size_bytes)", "{{path}}, {{instance}}"),
            unit="percentunit",
        ),
    ],
)  # fmt: skip
