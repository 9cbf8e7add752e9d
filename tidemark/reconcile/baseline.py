"""From where on the log can be added up when retention has taken its beginning: an earlier run has recorded it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from tidemark.core.names import Names

Offsets = Mapping[str, Mapping[int, int]]

# What was counted behind the applied offsets of a run may have been written a checkpoint before the run began.
MARGIN = timedelta(minutes=10)
_BEGINNING = datetime.min.replace(tzinfo=UTC)
# Runs that are looked at, the newest: a year of one every two hours.
_MOST_RUNS = 5_000
_RUNS = """
SELECT started_at, offsets FROM (
    SELECT id, started_at, offsets FROM {schema}.reconcile_run WHERE offsets <> '{{}}' ORDER BY id DESC LIMIT %s
) newest
ORDER BY started_at
"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a run has recorded.

    Parameters
    ----------
    started_at:
        When it started.
    offsets:
        Of the source topics the offsets before which all is in the stored totals; of what the jobs write the ends that
        it had when the run started.
    """

    started_at: datetime
    offsets: Offsets


def recorded(connection: psycopg.Connection, names: Names) -> list[Recorded]:
    """What runs have recorded, oldest first."""
    statement = sql.SQL(_RUNS).format(schema=sql.Identifier(names.billing_schema))
    return [
        Recorded(started_at, {topic: {int(part): at for part, at in parts.items()} for topic, parts in offsets.items()})
        for started_at, offsets in connection.execute(statement, [_MOST_RUNS])
    ]


def start(
    runs: Sequence[Recorded], earliest: Offsets, source: Sequence[str], written: Sequence[str], copies_for: timedelta
) -> Offsets | None:
    """Offsets of the source topics from which on every record and all that was made of it is still there.

    Parameters
    ----------
    runs:
        Oldest first.
    earliest:
        First offset that is left, by topic and partition.
    source, written:
        Topics that the jobs read, and that they write.
    copies_for:
        How long after its original a copy may arrive and still be dropped: for so long before the start the source
        must be there too.

    Returns
    -------
    Empty when nothing is gone; None when no run tells.
    """
    lost = {topic: {part: at for part, at in parts.items() if at} for topic, parts in earliest.items()}
    if not any(lost.values()):
        return {}
    sources_from = _first_with(runs, lost, source)
    written_from = _first_with(runs, lost, written)
    if sources_from is None or written_from is None:
        return None
    since = max(sources_from + copies_for, written_from + MARGIN)
    known = (run for run in runs if run.started_at >= since and all(topic in run.offsets for topic in source))
    found = next(known, None)
    return None if found is None else {topic: found.offsets[topic] for topic in source}


def _first_with(runs: Sequence[Recorded], lost: Offsets, topics: Sequence[str]) -> datetime | None:
    """Start of the first run behind whose offsets nothing is gone: what came after it is all there."""
    gone = [(topic, part, at) for topic in topics for part, at in lost.get(topic, {}).items()]
    if not gone:
        return _BEGINNING
    behind = (run for run in runs if all(run.offsets.get(topic, {}).get(part, 0) >= at for topic, part, at in gone))
    found = next(behind, None)
    return None if found is None else found.started_at
