"""What decides about an event beside the catalog, from the settings: the same for the job and for every tool."""

from __future__ import annotations

from jobs.settings import Settings
from udfs.decode import DecodePolicy


def policy_of(settings: Settings) -> DecodePolicy:
    """What `meter` decodes by."""
    return DecodePolicy(
        topic=settings.events_topic,
        grace_ms=settings.grace_s * 1_000,
        future_tolerance_ms=settings.future_tolerance_s * 1_000,
        default_tenant=settings.default_tenant,
        redrive_topic=settings.redrive_topic,
    )
