"""Where topics and jobs were when a backup was made; topics by id, since one that was made again is another one."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from tidemark.archive.source import reading
from tidemark.core.kafka import GroupOffsets
from tidemark.core.names import GROUPS
from tidemark.core.settings import Settings

_Offsets = dict[str, dict[str, int]]


def topics(settings: Settings) -> dict[str, dict[str, Any]]:
    """Id, first and next offsets of each topic of the run that there is; raises UnavailableError."""
    with reading(settings.kafka) as source:
        there = {*source.topics()}
        return {
            name: {
                "id": source.topic_id(name),
                "first": _text(source.earliest_offsets(name)),
                "next": _text(source.ends(name)),
            }
            for name in _names(settings)
            if name in there
        }


def committed(settings: Settings) -> dict[str, _Offsets]:
    """Next offsets that the checkpoints of `meter` and `rollup` cover, by job and topic; raises UnavailableError."""
    names = settings.names
    read = {"meter": settings.topics.events, "rollup": names.deltas}
    found: dict[str, _Offsets] = {}
    for job, topic in read.items():
        with closing(GroupOffsets(settings.kafka, names.group(GROUPS[job]), topic)) as group:
            found[job] = {name: _text(offsets) for name, offsets in group.by_topic().items()}
    return found


def _names(settings: Settings) -> list[str]:
    names = settings.names
    return [settings.topics.events, settings.topics.redrive, names.deltas, names.dlq, names.alerts, names.closes,
            names.corrections]  # fmt: skip


def _text(offsets: dict[int, int]) -> dict[str, int]:
    return {str(part): offset for part, offset in sorted(offsets.items())}
