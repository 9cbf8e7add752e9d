"""Options of live totals, alerts, notifications and responses."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

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
