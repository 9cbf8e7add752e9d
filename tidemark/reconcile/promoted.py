"""Promoted replays: their rows are compared with a recomputation by their own rules, not those of the live run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg

from tidemark.billing.watermark import drain
from tidemark.core import rollup_views
from tidemark.core.names import Names
from tidemark.core.rollup_views import Overlay
from tidemark.core.settings import Settings
from tidemark.replay import record


@dataclass(frozen=True, slots=True)
class Promoted:
    """A promoted replay, where it is active.

    Parameters
    ----------
    overlay:
        Its scope and schema.
    above:
        Later promotions, which replace it inside their scopes.
    settings:
        Settings of its run: topics, and which events are too late.
    edges:
        Next offset by topic and partition: every record before is in its rollups.
    known_catalog:
        Whether it measures by the present catalog; with an earlier catalog it cannot be recomputed here.
    """

    overlay: Overlay
    above: Sequence[Overlay]
    settings: Settings
    edges: Mapping[str, Mapping[int, int]]
    known_catalog: bool


def promoted(connection: psycopg.Connection, settings: Settings) -> list[Promoted]:
    """All promoted replays, the lowest first; waits until those without an end have stored what they have read.

    Raises
    ------
    UnavailableError
        The jobs of a replay without an end are down, or do not finish in time.
    """
    stack = rollup_views.overlays(connection, settings.names)
    by_schema = {
        Names(settings.names.replay(replay.replay_id)).usage_schema: replay
        for replay in (record.every(connection, settings.names) if stack else ())
    }
    promotions = []
    for place, overlay in enumerate(stack):
        replay = by_schema[overlay.usage_schema]
        run_settings = record.run_settings(settings, replay)
        edges = _numbers(replay.reached) if replay.bounded and replay.reached else drain(run_settings).offsets
        promotions.append(Promoted(overlay, stack[place + 1 :], run_settings, edges, replay.catalog_at is None))
    return promotions


def _numbers(offsets: Mapping[str, Mapping[str, int]]) -> dict[str, dict[int, int]]:
    return {topic: {int(part): offset for part, offset in parts.items()} for topic, parts in offsets.items()}
