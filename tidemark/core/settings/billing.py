"""Options of billing: closing, heartbeats, reconciliation, the archive and retention."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field

from tidemark.core.settings.section import Section


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
    interval_s: int = Field(60, ge=1, le=86_400, description="Interval of `close --watch`.")


class HeartbeatSettings(Section):
    """Events that let idle partitions close."""

    tenant: str = Field(
        "", max_length=256, description="Tenant of heartbeats, which let idle partitions close; empty: no heartbeats."
    )
    idle_s: int = Field(60, ge=1, le=86_400, description="Silence of a partition after which it gets a heartbeat.")


class ReconcileSettings(Section):
    """Tolerance of reconciliation."""

    tolerance: Decimal = Field(
        Decimal(0), ge=0, description="Difference of two quantities that reconciliation accepts; counts must be equal."
    )


class ArchiveSettings(Section):
    """Where raw records are archived, and in files of which size."""

    dir: str = Field("", description="Folder, or file: URI, of the archive of raw records; empty: nothing is archived.")
    file_rows: int = Field(
        1_000_000, ge=1, le=100_000_000, description="Most records of an archive file; a file also ends at 256 MiB."
    )
    interval_s: int = Field(3_600, ge=1, le=86_400, description="Interval of `archive run --watch`.")


class RetentionSettings(Section):
    """How long stored data is kept."""

    minute_days: int = Field(0, ge=0, description="Age at which usage_minute is dropped; 0: never.")
    hour_days: int = Field(0, ge=0, description="Age at which usage_hour is dropped; 0: never.")
    sliding_days: int = Field(0, ge=0, description="Age at which sliding windows are dropped; 0: never.")
    events_days: int = Field(0, ge=0, description="Retention of the events topic in Kafka; 0: unchanged.")
    deltas_days: int = Field(0, ge=0, description="Retention of the deltas topic; 0: unchanged.")
    dlq_days: int = Field(0, ge=0, description="Retention of the dead-letter topic; 0: unchanged.")
    archive_days: int = Field(0, ge=0, description="Age at which archived records are removed; 0: never.")
