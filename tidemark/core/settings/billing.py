"""Options of billing: closing, heartbeats, reconciliation, the archive and retention."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from tidemark.core.settings.section import Section

RetentionPolicy = Literal["keep", "tiered"]
# Ages in days that each policy sets where nothing else is said; what is not named is kept for ever, or left as it is.
# Minutes for a quarter, so that a bill can be looked into; hours for a year beside the one before; then the archive.
POLICIES: Mapping[RetentionPolicy, Mapping[str, int]] = {
    "keep": {},
    "tiered": {"minute_days": 90, "hour_days": 760, "sliding_days": 14, "events_days": 14},
}


class CloseSettings(Section):
    """When a period is closed, and when closing is refused."""

    settle_s: int = Field(5, ge=1, le=600, description="Longest delay of a tick's timer past a checkpoint barrier.")
    max_lag_s: int = Field(
        900, ge=1, description="Lag behind the clock above which a period that is due is refused; below, closing waits."
    )
    max_dead_letters: int = Field(
        100, ge=0, description="Dead letters of a customer in a period above which it is not closed."
    )
    max_periods: int = Field(
        100, ge=1, description="Most periods of a customer that are closed at once; more need `close --yes`."
    )
    max_jump_days: int = Field(
        35,
        ge=1,
        le=36_500,
        description="Days the arrival watermark may move between two closes; periods due by a greater jump need "
        "`close --yes`.",
    )
    interval_s: int = Field(60, ge=1, le=86_400, description="How often the role `close` closes what is due.")


class HeartbeatSettings(Section):
    """Events that let idle partitions close."""

    tenant: str = Field(
        "", max_length=256, description="Tenant of heartbeats, which let idle partitions close; empty: no heartbeats."
    )
    idle_s: int = Field(60, ge=1, le=86_400, description="Silence of a partition after which it gets a heartbeat.")


class ReconcileSettings(Section):
    """What reconciliation lets pass, and how the role `reconcile` runs."""

    tolerance: Decimal = Field(
        Decimal(0), ge=0, description="Difference of two quantities that reconciliation accepts; counts must be equal."
    )
    interval_s: int = Field(86_400, ge=1, description="How often the role `reconcile` runs its checks.")
    checks: tuple[str, ...] = Field((), description="Checks of the role `reconcile`; empty: all.")
    share: Decimal = Field(Decimal(1), gt=0, le=1, description="Share of the customers, by hash, that the role checks.")
    metrics_file: Path | None = Field(
        None, description="File for Prometheus' textfile collector, written by the role `reconcile`; empty: none."
    )


class ArchiveSettings(Section):
    """Where raw records are archived, and in files of which size."""

    dir: str = Field(
        "", description="Folder, or file: or s3: URI, of the archive of raw records; empty: nothing is archived."
    )
    file_rows: int = Field(
        1_000_000, ge=1, le=100_000_000, description="Most records of an archive file; 256 MiB of them end it too."
    )
    interval_s: int = Field(
        3_600, ge=1, le=86_400, description="How often the role `archive` archives what has arrived."
    )


def _of_policy(name: str, meaning: str, zero: str = "never") -> str:
    """The description of an age that a policy sets."""
    return f"{meaning[:-1]}; 0: {zero}. With the policy `tiered`: {POLICIES['tiered'][name]}."


class RetentionSettings(Section):
    """How long what is stored is kept, and how often the role `retention` looks."""

    policy: RetentionPolicy = Field(
        "keep",
        description="Ages that are not given: `keep` drops nothing; `tiered` keeps minutes, then hours, then days.",
    )
    minute_days: int = Field(0, ge=0, description=_of_policy("minute_days", "Age at which usage_minute is dropped."))
    hour_days: int = Field(0, ge=0, description=_of_policy("hour_days", "Age at which usage_hour is dropped."))
    sliding_days: int = Field(
        0, ge=0, description=_of_policy("sliding_days", "Age at which sliding windows are dropped.")
    )
    events_days: int = Field(
        0, ge=0, description=_of_policy("events_days", "Retention of the events topic in Kafka.", "unchanged")
    )
    deltas_days: int = Field(0, ge=0, description="Retention of the deltas topic; 0: unchanged.")
    dlq_days: int = Field(0, ge=0, description="Retention of the dead-letter topic; 0: unchanged.")
    archive_days: int = Field(0, ge=0, description="Age at which archived records are removed; 0: never.")
    reads_days: int = Field(
        0, ge=0, description="Age at which records of reads over the HTTP API (api.read_audit) are removed; 0: never."
    )
    interval_s: int = Field(86_400, ge=1, description="How often the role `retention` takes the steps that are due.")

    @model_validator(mode="before")
    @classmethod
    def _by_policy(cls, values: Any) -> Any:
        """What is not said is as the policy has it."""
        policy: Any = values.get("policy", "keep") if isinstance(values, dict) else "keep"
        return {**POLICIES[policy], **values} if policy in POLICIES and isinstance(values, dict) else values

    @property
    def is_set(self) -> bool:
        """Whether anything is to be dropped at all."""
        days = (self.minute_days, self.hour_days, self.sliding_days, self.events_days, self.deltas_days, self.dlq_days)
        return any((*days, self.archive_days, self.reads_days))
