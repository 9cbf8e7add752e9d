"""Offsets: every record of the source topics was counted, is a copy, or is a dead letter, for each partition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import msgspec

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
    a."offset" < coalesce(e."offset", 0) AND NOT v.declined AS applied
FROM amounted AS a
JOIN outcomes AS v ON v.partition = a.partition AND v."offset" = a."offset" AND v.outcome IN ('counted', 'duplicate')
LEFT JOIN edges AS e ON e.partition = a.partition
"""
# Events, with the partitions of their copies. Events without an applied record may have been counted or not.
_IDENTITIES = """
CREATE OR REPLACE TABLE identities AS
SELECT tenant_id, source, original, id, part,
    count(DISTINCT partition) AS places, min(partition) AS partition, bool_or(applied) AS applied,
    bool_or(declined) AS declined
FROM accepted
GROUP BY tenant_id, source, original, id, part
"""
_BY_PARTITION = """
WITH least AS (
    SELECT partition, count(*) AS events FROM identities WHERE places = 1 AND applied GROUP BY partition
), most AS (
    SELECT partition, count(*) AS records, count(DISTINCT (tenant_id, source, original, id, part)) AS events
    FROM accepted
    GROUP BY partition
), rejected AS (
    SELECT v.partition, count(*) AS records
    FROM outcomes AS v
    JOIN edges AS e ON e.partition = v.partition AND v."offset" < e."offset"
    WHERE v.outcome NOT IN ('counted', 'duplicate')
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
)
SELECT count(*) FILTER (WHERE f.applied), count(*)
FROM partial AS p
JOIN first AS f ON f.partition = p.partition AND f."offset" = p."offset"
"""


class _Delta(msgspec.Struct):
    events: int
    source_topic: str
    source_partition: int


class _DeadLetter(msgspec.Struct):
    topic: str
    partition: int
    offset: int
    partial: bool = False


_DELTAS, _DEAD_LETTERS = msgspec.json.Decoder(_Delta), msgspec.json.Decoder(_DeadLetter)


@dataclass(frozen=True, slots=True)
class JobCounts:
    """What the jobs counted: events in the deltas and whole dead letters, by source partition; partial dead letters."""

    counted: Mapping[Place, int]
    dead: Mapping[Place, int]
    partial: int = 0


def read_counts(settings: Settings, edges: Mapping[int, int]) -> JobCounts:
    """Read deltas and dead letters as a `read_committed` consumer; only dead letters of records before the edges."""
    counted: Counter[Place] = Counter()
    dead: Counter[Place] = Counter()
    partial = 0
    for record in dump(settings.kafka, settings.names.deltas):
        if record.value is not None:
            delta = _DELTAS.decode(record.value)
            counted[Place(delta.source_topic, delta.source_partition)] += delta.events
    for record in dump(settings.kafka, settings.names.dlq):
        if record.value is not None:
            dead_letter = _DEAD_LETTERS.decode(record.value)
            if dead_letter.partial:
                partial += 1
            elif dead_letter.offset < edges.get(_number(settings, dead_letter.topic, dead_letter.partition), 0):
                dead[Place(dead_letter.topic, dead_letter.partition)] += 1
    return JobCounts(counted, dead, partial)


def check(settings: Settings, oracle: Oracle, edges: Mapping[int, int], counts: JobCounts, gone: str) -> Outcome:
    """Check the equation of every partition; the oracle must be created after `counts` was read.

    `gone` names a topic that no longer has its first records; '' for none.
    """
    if gone:
        return Outcome(not_checked=f"{gone}: records before it are gone, so the sums cannot match")
    oracle.db.execute('CREATE OR REPLACE TABLE edges (partition INTEGER, "offset" BIGINT)')
    if edges:
        oracle.db.executemany("INSERT INTO edges VALUES (?, ?)", sorted(edges.items()))
    oracle.db.execute(_ACCEPTED)
    oracle.db.execute(_IDENTITIES)
    recomputed = {
        _place(settings, partition): Recomputed(accepted, least, most, rejected)
        for partition, accepted, least, most, rejected in oracle.db.execute(_BY_PARTITION).fetchall()
    }
    least = oracle.number("SELECT count(*) FROM identities WHERE applied")
    most = oracle.number("SELECT count(*) FROM identities")
    findings: list[Finding] = [
        *equation(recomputed, (least, most), counts.counted, counts.dead),
        *_partial(oracle, counts.partial),
    ]
    return outcome_of(findings, len(recomputed), moving=most - least)


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
