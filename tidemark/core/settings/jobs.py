"""Options of the three jobs, and of a replay of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from tidemark.core.settings.section import Section
from udfs.anomaly.zones import zones_of

Profile = Literal["latency", "throughput"]
# What each profile of `meter` sets where nothing else is said; docs/operations.md has what they cost.
PROFILES: Mapping[Profile, Mapping[str, int]] = {
    "latency": {"tick_ms": 100, "bundle_ms": 10, "buffer_timeout_ms": 5, "checkpoint_interval_ms": 1_000},
    "throughput": {"tick_ms": 1_000, "bundle_ms": 100, "buffer_timeout_ms": 100, "checkpoint_interval_ms": 5_000},
}
_DEFAULT: Profile = "latency"
_DEFAULTS = PROFILES[_DEFAULT]


def _of_profile(name: str, meaning: str) -> str:
    """The description of a setting that the profile sets."""
    others = [f"`{profile}`: {values[name]}" for profile, values in PROFILES.items() if profile != _DEFAULT]
    return f"{meaning} With the profile {', '.join(others)}."


class MeterSettings(Section):
    """How `meter` runs."""

    profile: Profile = Field(
        _DEFAULT,
        description="What `meter` is tuned for: defaults of its tick, Python bundles, buffers and checkpoints.",
    )
    parallelism: int = Field(1, ge=1, description="Parallelism of `meter`.")
    checkpoint_interval_ms: int = Field(
        _DEFAULTS["checkpoint_interval_ms"],
        ge=100,
        description=_of_profile("checkpoint_interval_ms", "Flink checkpoint interval of `meter`."),
    )
    tick_ms: int = Field(
        _DEFAULTS["tick_ms"],
        ge=50,
        le=60_000,
        description=_of_profile("tick_ms", "How often `meter` emits deltas and writes its counters."),
    )
    backlog_tick_ms: int = Field(
        2_000, ge=50, le=60_000, description="How often `meter` emits deltas of a backlog, and writes its counters."
    )
    limits_wait_ms: int = Field(
        500, ge=1, le=10_000, description="Longest wait of `meter` for limits of customers that it sees first."
    )
    backlog_after_ms: int = Field(
        3_000, ge=100, description="Time since arrival from which events that come in numbers are a backlog."
    )
    bundle_ms: int = Field(
        _DEFAULTS["bundle_ms"],
        ge=1,
        le=5_000,
        description=_of_profile("bundle_ms", "Longest wait of an event for its Python batch."),
    )
    buffer_timeout_ms: int = Field(
        _DEFAULTS["buffer_timeout_ms"],
        ge=1,
        le=5_000,
        description=_of_profile("buffer_timeout_ms", "Longest wait of a row for a full network buffer."),
    )
    bundle_size: int = Field(
        50_000, ge=1, description="Most events that are handed to Python before `meter` waits for all of them."
    )
    batch_size: int = Field(2_000, ge=1, description="Most events of one Python call.")
    bounded_tick_s: int = Field(60, ge=1, description="Tick of a bounded run, in arrival time.")
    bounded_disorder_s: int = Field(
        3_600, ge=0, description="Arrival disorder allowed within a partition of a bounded run."
    )

    @model_validator(mode="before")
    @classmethod
    def _of_profile(cls, values: Any) -> Any:
        """What is not said is as the profile has it."""
        profile = values.get("profile", _DEFAULT) if isinstance(values, dict) else _DEFAULT
        return {**PROFILES[profile], **values} if profile in PROFILES and isinstance(values, dict) else values

    @property
    def longest_tick_ms(self) -> int:
        """Longest time that a counted event waits for its delta, in a run without an end."""
        return max(self.tick_ms, self.backlog_tick_ms)


class RollupSettings(Section):
    """How `rollup` runs."""

    parallelism: int = Field(1, ge=1, description="Parallelism of `rollup`.")
    checkpoint_interval_ms: int = Field(5_000, ge=100, description="Flink checkpoint interval of `rollup`.")
    minibatch_ms: int = Field(2_000, ge=100, le=60_000, description="Mini-batch of `rollup` before it upserts.")
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
