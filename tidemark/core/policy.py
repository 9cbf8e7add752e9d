"""What decides about an event beside the catalog, from the settings: the same for the job and for every tool."""

from __future__ import annotations

from datetime import datetime

from tidemark.core.settings import Settings
from udfs.decode.decoder import DecodePolicy
from udfs.decode.scope import Scope


def policy_of(settings: Settings) -> DecodePolicy:
    """What `meter` decodes by."""
    return DecodePolicy(
        topic=settings.events_topic,
        grace_ms=settings.grace_s * 1_000,
        future_tolerance_ms=settings.future_tolerance_s * 1_000,
        default_tenant=settings.default_tenant,
        redrive_topic=settings.redrive_topic,
        scope=scope_of(settings),
        late_until_ms=_ms(settings.late_until) or 0,
        run_id=settings.run_id,
    )


def scope_of(settings: Settings) -> Scope | None:
    """What a replay measures; None for a run that measures everything."""
    tenants = frozenset(filter(None, settings.scope_tenants.split(";")))
    if not (settings.scope_from or settings.scope_to or tenants):
        return None
    return Scope(_ms(settings.scope_from), _ms(settings.scope_to), tenants)


def _ms(instant: str) -> int | None:
    return int(datetime.fromisoformat(instant).timestamp() * 1_000) if instant else None
