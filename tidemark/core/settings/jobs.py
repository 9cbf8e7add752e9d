"""Options of the three jobs, and of a replay of them."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field, field_validator

from tidemark.core.settings.section import Section
from udfs.anomaly.zones import zones_of


class MeterSettings(Section):
    """How `meter` runs."""

    parallelism: int = Field(1, ge=1, description="Parallelism of `meter`.")
    checkpoint_interval_ms: int = Field(1_000, ge=100, description="Flink checkpoint interval of `meter`.")
    tick_ms: int = Field(250, ge=50, le=60_000, description="How often `meter` emits deltas.")
    backlog_tick_ms: int = Field(
        2_000, ge=50, le=60_000, description="How often `meter` emits deltas of a backlog, and writes its counters."
    )
    backlog_after_ms: int = Field(
        3_000, ge=100, description="Time since arrival from which events that come in numbers are a backlog."
    )
    bundle_ms: int = Field(50, ge=1, le=5_000, description="Longest wait of an event for its Python batch.")
    bundle_size: int = Field(
        50_000, ge=1, description="Most events that are handed to Python before `meter` waits for all of them."
    )
    batch_size: int = Field(2_000, ge=1, description="Most events of one Python call.")
    bounded_tick_s: int = Field(60, ge=1, description="Tick of a bounded run, in arrival time.")
    bounded_disorder_s: int = Field(
        3_600, ge=0, description="Arrival disorder allowed within a partition of a bounded run."
    )

    @property
    def longest_tick_ms(self) -> int:
        """Longest time that a counted event waits for its delta, in a run without an end."""
        return max(self.tick_ms, self.backlog_tick_ms)


class RollupSettings(Section):
    """How `rollup` runs."""

    parallelism: int = Field(1, ge=1, description="Parallelism of `rollup`.")
    checkpoint_interval_ms: int = Field(5_000, ge=100, description="Flink checkpoint interval of `rollup`.")
    minibatch_ms: int = Field(5_000, ge=100, le=60_000, description="Mini-batch of `rollup` before it upserts.")
    sliding_disorder_s: int = Field(600, ge=0, description="Watermark bound of the sliding windows, event time.")
    sliding_history_s: int = Field(
        604_800,
        ge=0,
        le=365 * 86_400,
        description="Sliding windows that ended longer ago than this are not written; 0: all are.",
    )
    customer_windows: bool = Field(
        True, description="Keep sliding windows per customer too: up to 17 rows a customer, meter and minute."
    )


class AnomalySettings(Section):
    """How `anomaly` runs, and what it detects."""

    parallelism: int = Field(1, ge=1, description="Parallelism of `anomaly`.")
    checkpoint_interval_ms: int = Field(5_000, ge=100, description="Flink checkpoint interval of `anomaly`.")
    disorder_s: int = Field(600, ge=0, description="Watermark bound of the anomaly detectors, event time.")
    zones: str = Field(
        "Etc/UTC", description="Time zone of weekly usage patterns; then `;tenant=zone` for tenants in other zones."
    )
    clock: bool = Field(
        True, description="Whether time passes for `anomaly` while all topics are silent; false while loading history."
    )
    cached_series: int = Field(10_000, ge=100, description="Series a worker of `anomaly` keeps in memory.")

    @field_validator("zones")
    @classmethod
    def _known_zones(cls, text: str) -> str:
        zones_of(text)
        return text


class ReplaySettings(Section):
    """The scope of a replay; `replay start` sets all of it."""

    scope_from: str = Field("", description="First event time a replay measures, RFC 3339; set by `replay start`.")
    scope_to: str = Field("", description="First event time after it, RFC 3339; set by `replay start`.")
    scope_tenants: tuple[str, ...] = Field(
        (), description="Tenants it measures, a list; none: all. Set by `replay start`."
    )
    late_until: str = Field(
        "", description="Events that arrived before this instant (RFC 3339) are never too late; set by `replay start`."
    )
    events_per_s: int = Field(
        0, ge=0, description="Most events `meter` reads a second, for a replay beside the live run; 0: no limit."
    )

    @field_validator("scope_from", "scope_to", "late_until")
    @classmethod
    def _instant(cls, text: str) -> str:
        if text and datetime.fromisoformat(text).tzinfo is None:
            raise ValueError("has no zone; write for example 2026-01-01T00:00:00Z")
        return text
