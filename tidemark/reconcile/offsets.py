"""Offsets: every record of the source topics was counted, is a copy, or is a dead letter, partition by partition."""

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

# Records that are no dead letters, by what makes two of them copies of one event. What was redriven for a meter that by
# the catalog of now counted the event itself may have been counted before the catalog was put right, or not.
_ACCEPTED = """
CREATE OR REPLACE TABLE accepted AS
SELECT a.partition, a."offset", a.tenant_id, a.source, a.voids IS NULL AS original, coalesce(a.voids, a.event_id) AS id,
    coalesce(a.only_meter, '') AS part, v.declined,
    a."offset" < coalesce(e."offset", 0) AND NOT v.declined AS settled
FROM amounted AS a
JOIN verdicts AS v ON v.partition = a.partition AND v."offset" = a."offset" AND v.verdict IN ('counted', 'duplicate')
LEFT JOIN edges AS e ON e.partition = a.partition
"""
# Events, with the partitions their copies are in. Those of which no record is settled may have been counted or not.
_IDENTITIES = """
CREATE OR REPLACE TABLE identities AS
SELECT tenant_id, source, original, id, part,
    count(DISTINCT partition) AS places, min(partition) AS partition, bool_or(settled) AS settled,
    bool_or(declined) AS declined
FROM accepted
GROUP BY tenant_id, source, original, id, part
"""
_BY_PARTITION = """
WITH least AS (
    SELECT partition, count(*) AS events FROM identities WHERE places = 1 AND settled GROUP BY partition
), most AS (
    SELECT partition, count(*) AS records, count(DISTINCT (tenant_id, source, original, id, part)) AS events
    FROM accepted
    GROUP BY partition
), rejected AS (
    SELECT v.partition, count(*) AS records
    FROM verdicts AS v
    JOIN edges AS e ON e.partition = v.partition AND v."offset" < e."offset"
    WHERE v.verdict NOT IN ('counted', 'duplicate')
    GROUP BY v.partition
)
SELECT partition, coalesce(m.records, 0), coalesce(l.events, 0), coalesce(m.events, 0), coalesce(r.records, 0)
FROM most AS m
FULL JOIN least AS l USING (partition)
FULL JOIN rejected AS r USING (partition)
"""


# Refusals of single meters: of events that are settled, and of all. A copy refuses no more than its original.
_PARTIAL = """
WITH first AS (
    SELECT DISTINCT a.partition, a."offset", i.settled
    FROM accepted AS a
    JOIN identities AS i USING (tenant_id, source, original, id, part)
)
SELECT count(*) FILTER (WHERE f.settled), count(*)
FROM partial AS p
JOIN first AS f ON f.partition = p.partition AND f."offset" = p."offset"
"""


class _Delta(msgspec.Struct):
    events: int
    source_topic: str
    source_partition: int


class _Letter(msgspec.Struct):
    topic: str
    partition: int
    offset: int
    partial: bool = False


_DELTAS, _LETTERS = msgspec.json.Decoder(_Delta), msgspec.json.Decoder(_Letter)


@dataclass(frozen=True, slots=True)
class JobCounts:
    """What the jobs say: events in the deltas and whole dead letters, by the partition they came from; partial ones."""

    counted: Mapping[Place, int]
    dead: Mapping[Place, int]
    partial: int = 0


def read_counts(settings: Settings, edges: Mapping[int, int]) -> JobCounts:
    """Read deltas and dead letters as a `read_committed` consumer sees them; letters of records before the edges."""
    counted: Counter[Place] = Counter()
    dead: Counter[Place] = Counter()
    partial = 0
    for record in dump(settings.kafka, settings.names.deltas):
        if record.value is not None:
            delta = _DELTAS.decode(record.value)
            counted[Place(delta.source_topic, delta.source_partition)] += delta.events
    for record in dump(settings.kafka, settings.names.dlq):
        if record.value is not None:
            letter = _LETTERS.decode(record.value)
            if letter.partial:
                partial += 1
            elif letter.offset < edges.get(_number(settings, letter.topic, letter.partition), 0):
                dead[Place(letter.topic, letter.partition)] += 1
    return JobCounts(counted, dead, partial)


def check(settings: Settings, oracle: Oracle, edges: Mapping[int, int], said: JobCounts, gone: str) -> Outcome:
    """Hold the equation of every partition; the oracle must have been made after `said` was read.

    `gone` says which topic no longer holds its first records; '' for none.
    """
    if gone:
        return Outcome(not_checked=f"{gone}: records before it are gone, so nothing adds up")
    oracle.db.execute('CREATE OR REPLACE TABLE edges (partition INTEGER, "offset" BIGINT)')
    if edges:
        oracle.db.executemany("INSERT INTO edges VALUES (?, ?)", sorted(edges.items()))
    oracle.db.execute(_ACCEPTED)
    oracle.db.execute(_IDENTITIES)
    recomputed = {
        _place(settings, partition): Recomputed(accepted, least, most, rejected)
        for partition, accepted, least, most, rejected in oracle.db.execute(_BY_PARTITION).fetchall()
    }
    least = oracle.number("SELECT count(*) FROM identities WHERE settled")
    most = oracle.number("SELECT count(*) FROM identities")
    found: list[Finding] = [
        *equation(recomputed, (least, most), said.counted, said.dead),
        *_partial(oracle, said.partial),
    ]
    return outcome_of(found, len(recomputed), moving=most - least)


def _partial(oracle: Oracle, stated: int) -> list[Finding]:
    """Partial dead letters beside the equation: they are of events that are in it, as counted ones."""
    rows = oracle.db.execute(_PARTIAL).fetchall()
    least, most = rows[0]
    # Refused by the catalog of then, taken by that of now: the part that was redriven says so.
    most += oracle.number("SELECT count(*) FROM identities WHERE declined")
    off = outside(stated, least, most)
    if not off:
        return []
    return [Finding({"dead_letters": "partial"}, f"partial {stated - off}", f"partial {stated}", Decimal(off))]


def _place(settings: Settings, number: int) -> Place:
    return Place(settings.topics.events, number) if number >= 0 else Place(settings.topics.redrive, -1 - number)


def _number(settings: Settings, topic: str, partition: int) -> int:
    return -1 - partition if topic == settings.topics.redrive else partition
