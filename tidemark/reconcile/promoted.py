"""Promoted replays: what they show is held against a recomputation by their own rules, not those of the live run."""

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
    """A promoted replay, as far as it shows.

    Parameters
    ----------
    overlay:
        What it holds.
    above:
        Replays that stand for it where they reach.
    settings:
        Of its run: topics, and what is not too late for it.
    edges:
        Next offset by topic and partition: every record before is in its rollups.
    known_catalog:
        Whether it measures by the present catalog; one that was known earlier cannot be recomputed here.
    """

    overlay: Overlay
    above: Sequence[Overlay]
    settings: Settings
    edges: Mapping[str, Mapping[int, int]]
    known_catalog: bool


def promoted(connection: psycopg.Connection, settings: Settings) -> list[Promoted]:
    """All that stand, the lowest first; waits until those that run on have stored what they have read.

    Raises
    ------
    UnavailableError
        The jobs of one that runs on are away, or do not come to an end.
    """
    stack = rollup_views.overlays(connection, settings.names)
    by_schema = {
        Names(settings.names.replay(one.replay_id)).usage_schema: one
        for one in (record.every(connection, settings.names) if stack else ())
    }
    found = []
    for place, overlay in enumerate(stack):
        replay = by_schema[overlay.usage_schema]
        own = record.run_settings(settings, replay)
        edges = _numbers(replay.reached) if replay.bounded and replay.reached else drain(own).offsets
        found.append(Promoted(overlay, stack[place + 1 :], own, edges, replay.catalog_at is None))
    return found


def _numbers(offsets: Mapping[str, Mapping[str, int]]) -> dict[str, dict[int, int]]:
    return {topic: {int(part): offset for part, offset in parts.items()} for topic, parts in offsets.items()}
