"""The rules for events that come from the settings, not the catalog: the same for the job and for every tool."""

from __future__ import annotations

from datetime import datetime

from tidemark.core.settings import ReplaySettings, Settings
from udfs.decode.decoder import DecodePolicy
from udfs.decode.scope import Scope
from udfs.values import epoch_ms


def policy_of(settings: Settings) -> DecodePolicy:
    """The decoding rules of `meter`."""
    return DecodePolicy(
        topic=settings.topics.events,
        grace_ms=settings.events.grace_s * 1_000,
        future_tolerance_ms=settings.events.future_tolerance_s * 1_000,
        default_tenant=settings.events.default_tenant,
        redrive_topic=settings.topics.redrive,
        scope=scope_of(settings.replay),
        late_until_ms=_ms(settings.replay.late_until) or 0,
        run_id=settings.run_id,
    )


def scope_of(replay: ReplaySettings) -> Scope | None:
    """The scope of a replay; None for a run that measures everything."""
    tenants = frozenset(replay.scope_tenants)
    if not (replay.scope_from or replay.scope_to or tenants):
        return None
    return Scope(_ms(replay.scope_from), _ms(replay.scope_to), tenants)


def _ms(instant: str) -> int | None:
    return epoch_ms(datetime.fromisoformat(instant)) if instant else None
