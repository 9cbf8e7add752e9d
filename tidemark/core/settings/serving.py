"""Options of live totals, alerts, notifications, responses, the endpoint of `serve`, and the role `health`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tidemark.core.settings.addresses import HttpUrl, PlainPath
from tidemark.core.settings.listening import ADDRESS, Listening
from tidemark.core.settings.section import Section


class LiveTotalSettings(Section):
    """How totals in Redis are kept current."""

    refresh_s: int = Field(5, ge=1, le=25, description="How often stored totals are written into Redis again.")
    leaderboard_size: int = Field(10, ge=1, le=1_000, description="Customers in the leaderboard of a tenant and meter.")


class AlertSettings(Section):
    """How alerts become notifications."""

    group_wait_s: int = Field(
        10, ge=1, le=3_600, description="Window of alert time in which related alerts become one notification."
    )


class DeliverySettings(Section):
    """How notifications are delivered to their receivers."""

    attempts: int = Field(
        10,
        ge=1,
        le=100,
        description="Attempts at a notification before it is a dead letter: 10 take two hours at most.",
    )
    timeout_ms: int = Field(
        10_000,
        ge=100,
        le=60_000,
        description="Longest time of an attempt: the name, all addresses, the request and the response together.",
    )
    threads: int = Field(4, ge=1, le=64, description="Receivers that are notified at the same time.")
    secrets_dir: PlainPath | None = Field(
        None, description="Folder with the secrets of receivers, a file each, which `secret_file` of a receiver names."
    )
    hosts: tuple[str, ...] = Field(
        (), description="Globs of the hosts that receivers may have, a list; empty: any that is not local."
    )
    allow_http: bool = Field(False, description="Whether receivers may be reached without TLS.")
    allow_local: bool = Field(
        False, description="Whether receivers may have loopback, link-local and metadata addresses."
    )
    ca_file: PlainPath | None = Field(
        None, description="PEM file of the authorities that receivers are checked against; certifi's when empty."
    )


class WebhookResponse(Section):
    """An automated response that notifies a receiver of alerts and of the ends of their conditions.

    Globs of types, severities and tenants narrow which; none given means any.
    """

    receiver: str = Field(min_length=1, description="Receiver of the alert policy.")
    name: str = Field("", description="Names the response, whose offsets are kept under it; the receiver when empty.")
    types: tuple[str, ...] = ()
    severities: tuple[Literal["info", "warning", "critical"], ...] = ()
    tenants: tuple[str, ...] = ()

    @property
    def known_as(self) -> str:
        """Its name among all responses."""
        return f"webhook:{self.name or self.receiver}"


class ResponseSettings(Section):
    """Which alerts are answered automatically, and how suspensions are kept."""

    suspend: bool = Field(False, description="Whether customers at a hard limit are suspended (docs/delivery.md).")
    webhooks: tuple[WebhookResponse, ...] = Field(
        (), description="Receivers that alerts are answered by, each {receiver, name, types, severities, tenants}."
    )
    check_s: int = Field(5, ge=1, le=60, description="How often flags of suspended customers are looked at.")

    @field_validator("webhooks")
    @classmethod
    def _named_once(cls, webhooks: tuple[WebhookResponse, ...]) -> tuple[WebhookResponse, ...]:
        names = [webhook.known_as for webhook in webhooks]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise ValueError(f"{', '.join(double)} is there more than once; give each a name of its own")
        return webhooks


class ServeSettings(Listening):
    """Where a process of `tidemark serve` answers /healthz, /readyz and /metrics, and what metrics it makes."""

    listen: str = Field(
        "127.0.0.1:9464",
        pattern=ADDRESS,
        description="host:port where `serve` answers /healthz, /readyz and /metrics; port 0: a free one; `off`: none.",
    )

    sample_s: int = Field(
        5, ge=0, le=300, description="How often the latency of some events is sampled, where `health` runs; 0: never."
    )
    tenants: tuple[str, ...] = Field(
        (), max_length=50, description="Tenants that metrics of latency may name, a list; all others go by no name."
    )


class TraceSettings(Section):
    """Where traces of sampled events go; needs the extra `trace`."""

    endpoint: HttpUrl | None = Field(
        None,
        description="OTLP receiver over HTTP that gets traces of sampled events, for example http://127.0.0.1:4318.",
    )
    ratio: float = Field(
        1.0, ge=0, le=1, description="Share of the sampled events that are traced; one that its producer traces always."
    )


Job = Literal["meter", "rollup", "anomaly"]


class ResubmitSettings(Section):
    """Jobs that the role `resubmit` brings back where no standby JobManager does."""

    jobs: tuple[Job, ...] = Field(
        (), description="Jobs that are submitted again, from their newest state, when Flink has forgotten them."
    )
    interval_s: int = Field(5, ge=1, le=300, description="How often the role `resubmit` asks Flink for them.")


class HealthSettings(Section):
    """What the role `health` expects to run, and from when on it raises an alert."""

    interval_s: int = Field(5, ge=1, le=60, description="How often the role `health` checks the pipeline.")
    jobs: tuple[Job, ...] = Field(("meter", "rollup"), description="Jobs that must run.")
    roles: tuple[str, ...] = Field((), description="Roles that must run; empty: all that a process has ever run.")
    job_down_s: int = Field(30, ge=1, le=3_600, description="A job not RUNNING for so long is `pipeline.job_down`.")
    max_lag_s: int = Field(
        300, ge=1, description="Age of the oldest record a job has not committed above which it is `pipeline.lag`."
    )
    max_lag_records: int = Field(
        0, ge=0, description="Records a job has not committed above which it is `pipeline.lag`; 0: not compared."
    )
    max_checkpoint_age_s: int = Field(
        300, ge=1, description="Age of a job's last checkpoint above which it is `pipeline.checkpoints`."
    )
    role_failing_s: int = Field(
        60, ge=1, le=3_600, description="A role that no process runs well for so long is `pipeline.role_failing`."
    )
    disk_paths: tuple[Annotated[str, Field(pattern="^/")], ...] = Field(
        (), description="Folders whose disks are checked where `health` runs; empty: state and archive, if local."
    )
    min_disk_free_percent: int = Field(
        10, ge=0, le=99, description="Free share of a disk below which it is `pipeline.disk`."
    )
