"""Offsets: every record of the source topics was counted, is a copy, or is a dead letter, for each partition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

import msgspec

from tidemark.core.deltas import read
from tidemark.core.kafka import dump
from tidemark.core.settings import Settings
from tidemark.oracle.oracle import Oracle
from tidemark.reconcile.findings import Finding, Outcome, outcome_of
from tidemark.reconcile.places import Place, Recomputed, equation, outside

# Records that are not dead letters, by the identity of their event. If an event was redriven for a meter that, by the
# present catalog, counted the original, it may have been counted before the catalog was corrected, or not.
_ACCEPTED = """
CREATE OR REPLACE TABLE accepted AS
SELECT a.partition, a."offset", a.tenant_id, a.source, a.voids IS NULL AS original, coalesce(a.voids, a.event_id) AS id,
    coalesce(a.only_meter, '') AS part, v.declined,
    a."offset" < coalesce(e."offset", 0) AND NOT v.declined AS applied,
    a."offset" >= coalesce(s."offset", 0) AS inside
FROM amounted AS a
JOIN outcomes AS v ON v.partition = a.partition AND v."offset" = a."offset" AND v.outcome IN ('counted', 'duplicate')
LEFT JOIN edges AS e ON e.partition = a.partition
LEFT JOIN starts AS s ON s.partition = a.partition
"""
# Events, with the partitions of their copies. Events without an applied record may have been counted or not. An event
# that is there before the start was counted before it, so that behind it there are copies alone.
_IDENTITIES = """
CREATE OR REPLACE TABLE identities AS
SELECT tenant_id, source, original, id, part,
    count(DISTINCT partition) AS places, min(partition) AS partition, bool_or(applied) AS applied,
    bool_or(declined) AS declined
FROM accepted
GROUP BY tenant_id, source, original, id, part
HAVING bool_and(inside)
"""
_BY_PARTITION = """
WITH least AS (
    SELECT partition, count(*) AS events FROM identities WHERE places = 1 AND applied GROUP BY partition
), most AS (
    SELECT a.partition, count(*) AS records,
        count(DISTINCT (a.tenant_id, a.source, a.original, a.id, a.part)) FILTER (i.id IS NOT NULL) AS events
    FROM accepted AS a
    LEFT JOIN identities AS i USING (tenant_id, source, original, id, part)
    WHERE a.inside
    GROUP BY a.partition
), rejected AS (
    SELECT v.partition, count(*) AS records
    FROM outcomes AS v
    JOIN edges AS e ON e.partition = v.partition AND v."offset" < e."offset"
    LEFT JOIN starts AS s ON s.partition = v.partition
    WHERE v.outcome NOT IN ('counted', 'duplicate') AND v."offset" >= coalesce(s."offset", 0)
    GROUP BY v.partition
)
SELECT partition, coalesce(m.records, 0), coalesce(l.events, 0), coalesce(m.events, 0), coalesce(r.records, 0)
FROM most AS m
FULL JOIN least AS l USING (partition)
FULL JOIN rejected AS r USING (partition)
"""


# Rejections by single meters: of applied events, and of all. A copy is rejected by the same meters as its original.
_PARTIAL = """
WITH first AS (
    SELECT DISTINCT a.partition, a."offset", i.applied
    FROM accepted AS a
    JOIN identities AS i USING (tenant_id, source, original, id, part)
    WHERE a.inside
)
SELECT count(*) FILTER (WHERE f.applied), count(*)
FROM partial AS p
JOIN first AS f ON f.partition = p.partition AND f."offset" = p."offset"
"""


class _DeadLetter(msgspec.Struct):
    topic: str
    partition: int
    offset: int
    partial: bool = False


_DEAD_LETTERS = msgspec.json.Decoder(_DeadLetter)


@dataclass(frozen=True, slots=True)
class JobCounts:
    """What the jobs counted: events in the deltas and whole dead letters, by source partition; partial dead letters.

    `across`: events of deltas that have some before the start and some behind it, of those counted. `foreign`: records
    of the topic of deltas that are none.
    """

    counted: Mapping[Place, int]
    dead: Mapping[Place, int]
    partial: int = 0
    across: Mapping[Place, int] = field(default_factory=dict)
    foreign: int = 0


def read_counts(settings: Settings, edges: Mapping[int, int], starts: Mapping[int, int]) -> JobCounts:
    """Read deltas and dead letters as a `read_committed` consumer: of records from the starts on.

    Of dead letters only those of records before the edges. Both by the oracle's number of the partition.
    """
    counted: Counter[Place] = Counter()
    across: Counter[Place] = Counter()
    dead: Counter[Place] = Counter()
    partial = foreign = 0
    for record in dump(settings.kafka, settings.names.deltas):
        delta = read(record.value)
        foreign += delta is None and record.value is not None
        if delta is not None:
            place = Place(delta.source_topic, delta.source_partition)
            start = starts.get(_number(settings, *place), 0)
            if delta.last_offset >= start:
                counted[place] += delta.events
                across[place] += delta.events if delta.first_offset < start else 0
    for record in dump(settings.kafka, settings.names.dlq):
        dead_letter = _dead_letter(record.value)
        if dead_letter is not None:
            number = _number(settings, dead_letter.topic, dead_letter.partition)
            if dead_letter.offset < starts.get(number, 0):
                continue
            if dead_letter.partial:
                partial += 1
            elif dead_letter.offset < edges.get(number, 0):
                dead[Place(dead_letter.topic, dead_letter.partition)] += 1
    return JobCounts(counted, dead, partial, +across, foreign)


def _dead_letter(value: bytes | None) -> _DeadLetter | None:
    """None for a record that another program wrote."""
    try:
        return None if value is None else _DEAD_LETTERS.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def check(
    settings: Settings, oracle: Oracle, edges: Mapping[int, int], counts: JobCounts, starts: Mapping[int, int]
) -> Outcome:
    """Check the equation of every partition, from the starts on; the oracle must be created after `counts` was read."""
    for table, offsets in (("edges", edges), ("starts", starts)):
        oracle.db.execute(f'CREATE OR REPLACE TABLE {table} (partition INTEGER, "offset" BIGINT)')
        if offsets:
            oracle.db.executemany(f"INSERT INTO {table} VALUES (?, ?)", sorted(offsets.items()))
    oracle.db.execute(_ACCEPTED)
    oracle.db.execute(_IDENTITIES)
    recomputed = {
        # Of a delta that lies across the start it is not known how many of its events are behind it.
        place: Recomputed(accepted, least, most + counts.across.get(place, 0), rejected)
        for partition, accepted, least, most, rejected in oracle.db.execute(_BY_PARTITION).fetchall()
        for place in (_place(settings, partition),)
    }
    least = oracle.number("SELECT count(*) FROM identities WHERE applied")
    most = oracle.number("SELECT count(*) FROM identities") + sum(counts.across.values())
    findings: list[Finding] = [
        *equation(recomputed, (least, most), counts.counted, counts.dead),
        *_partial(oracle, counts.partial),
    ]
    outcome = outcome_of(findings, len(recomputed), moving=most - least)
    if counts.foreign:
        note = (
            f"{counts.foreign} record(s) of {settings.names.deltas} are no deltas, and not counted: see delta_foreign"
        )
        outcome = replace(outcome, notes=[*outcome.notes, note])
    if not starts:
        return outcome
    note = "records before those that an earlier run had compared are left out: retention has removed some"
    return replace(outcome, notes=[*outcome.notes, note])


def _partial(oracle: Oracle, stated: int) -> list[Finding]:
    """Partial dead letters, apart from the equation: it includes their events as counted."""
    rows = oracle.db.execute(_PARTIAL).fetchall()
    least, most = rows[0]
    # Rejected by an earlier catalog, accepted by the present one: the redriven part shows it.
    most += oracle.number("SELECT count(*) FROM identities WHERE declined")
    off = outside(stated, least, most)
    if not off:
        return []
    return [Finding({"dead_letters": "partial"}, f"partial {stated - off}", f"partial {stated}", Decimal(off))]


def _place(settings: Settings, number: int) -> Place:
    return Place(settings.topics.events, number) if number >= 0 else Place(settings.topics.redrive, -1 - number)


def _number(settings: Settings, topic: str, partition: int) -> int:
    return -1 - partition if topic == settings.topics.redrive else partition
