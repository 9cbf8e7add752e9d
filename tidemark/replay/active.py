"""The run whose jobs feed open periods now: the live run, or the replay that took its place."""

from __future__ import annotations

from tidemark.core import postgres
from tidemark.core.settings import Settings
from tidemark.live.active_version import promoted
from tidemark.replay import record
from tidemark.replay.record import run_settings


def active_run(settings: Settings) -> Settings:
    """Settings of the promoted replay that runs on for all tenants, the last of several; else of the run itself."""
    names = settings.names
    with postgres.connect(settings.postgres.ops) as connection:
        on = [one for one in promoted(connection, names) or () if one.end is None and not one.tenants]
        replays = record.every(connection, names) if on else []
    return next((run_settings(settings, one) for one in replays if one.overlay(names) == on[-1]), settings)
