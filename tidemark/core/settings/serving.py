"""Options of live totals, alerts, notifications and responses."""

from __future__ import annotations

from pydantic import Field

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
        10_000, ge=100, le=60_000, description="Longest wait for a connection to a receiver, and for its response."
    )
    threads: int = Field(4, ge=1, le=64, description="Receivers that are notified at the same time.")


class ResponseSettings(Section):
    """How suspensions are maintained."""

    check_s: int = Field(5, ge=1, le=60, description="How often flags of suspended customers are checked.")
