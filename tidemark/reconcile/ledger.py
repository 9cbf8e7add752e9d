"""Check `ledger`: the ledger's own hashes and chain, and its records against those that were published.

Who owns the tables can turn their triggers off, change a line and make its hash anew; then the chain breaks at the next
record, or the topic has another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import psycopg
from psycopg import sql

from tidemark.billing.chain import BEGINNING, hash_of
from tidemark.billing.outbox import HEADER
from tidemark.billing.recorded import Place, Recorded, Topic, records
from tidemark.core.kafka import Record, dump
from tidemark.core.names import Names
from tidemark.core.settings import Settings
from tidemark.reconcile.earliest import earliest_offsets
from tidemark.reconcile.findings import Finding, Outcome, outcome_of
from tidemark.reconcile.sample import Wanted
from udfs.values import rfc3339

# The migration since which records are chained.
_MIGRATION = "0112_chain.sql"
_TOPICS: tuple[Topic, ...] = ("closes", "corrections")
_SINCE = "SELECT applied_at FROM {schema}.schema_migration WHERE name = %s"
_LAST_SEQ = "SELECT coalesce(max(seq), 0) FROM {schema}.outbox"
_PENDING = "SELECT body FROM {schema}.outbox JOIN {schema}.outbox_position p USING (topic) WHERE outbox.seq > p.seq"
_BROKEN = """
WITH chained AS (
    SELECT tenant_id, customer_id, period_start, period_end, 0 AS number, chain_no, previous_hash, record_hash
    FROM {schema}.period_close
    UNION ALL
    SELECT tenant_id, customer_id, period_start, period_end, correction_no, chain_no, previous_hash, record_hash
    FROM {schema}.correction
), linked AS (
    SELECT *, 1 + coalesce(lag(chain_no) OVER chain, 0) AS wanted_no,
           coalesce(lag(record_hash) OVER chain, %(beginning)s) AS wanted_hash
    FROM chained
    WHERE chain_no IS NOT NULL AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
    WINDOW chain AS (PARTITION BY tenant_id ORDER BY chain_no)
)
SELECT tenant_id, customer_id, period_start, period_end, number, wanted_no, wanted_hash, chain_no, previous_hash
FROM linked
WHERE chain_no <> wanted_no OR previous_hash IS DISTINCT FROM wanted_hash
ORDER BY tenant_id, chain_no
"""


def check(settings: Settings, connection: psycopg.Connection, wanted: Wanted) -> Outcome:
    """Compare; in a transaction with one snapshot.

    1. Each line of a correction follows from the lines before it, and the lines have the hash of their record.
    2. Each record has the hash of its content and of the record of its tenant before it, and no number is missing.
    3. Each record is in its topic with the same content, and no other is, but for those that are pending or expired.
    """
    names = settings.names
    since = _value(connection, names, _SINCE, [_MIGRATION])
    published = _published(settings, connection, wanted)
    findings: list[Finding] = []
    compared = 0
    for recorded in records(connection, names, wanted.tenant):
        if wanted.takes(*recorded.head.place[:2]):
            compared += 1
            findings += [*_own_faults(recorded, since), *published.faults(recorded)]
    findings += [*_broken(connection, names, wanted), *published.left()]
    notes = [f"{published.expired:,} records are no longer in their topics"] if published.expired else []
    return outcome_of(findings, compared, notes=notes)


@dataclass
class _Published:
    """What the topics have, up to the last record of the ledger's snapshot.

    Parameters
    ----------
    pending:
        Records that need not be there yet.
    digests:
        By record, of its content.
    begins:
        When the first record was made that a topic has, if earlier ones are gone; absent where none are.
    strange:
        Records that are none of the ledger, or there a second time.
    expired:
        How many records of the ledger their topic no longer has.
    """

    pending: set[Place]
    digests: dict[Place, str] = field(default_factory=dict)
    begins: dict[Topic, datetime] = field(default_factory=dict)
    strange: list[Finding] = field(default_factory=list)
    expired: int = 0

    def faults(self, recorded: Recorded) -> Iterator[Finding]:
        """How the published record differs; each record of the ledger once."""
        place, digest = recorded.head.place, _digest(json.loads(recorded.body))
        copy = self.digests.pop(place, None)
        if copy is None and self._is_gone(recorded):
            self.expired += 1
        elif copy != digest and not (copy is None and place in self.pending):
            yield _finding(place, "published", copy, digest)

    def left(self) -> Iterator[Finding]:
        """What was published and is not in the ledger, after all of its records."""
        for place, copy in self.digests.items():
            yield _finding(place, "published", copy, None)
        yield from self.strange

    def _is_gone(self, recorded: Recorded) -> bool:
        """Whether it was made before the first one that its topic still has, or with it."""
        first = self.begins.get(recorded.topic)
        return first is not None and _instant(rfc3339(recorded.head.at)) <= first


def _own_faults(recorded: Recorded, since: datetime) -> Iterator[Finding]:
    head, place = recorded.head, recorded.head.place
    for meter, dims in recorded.astray:
        yield Finding({**_subject(place, "line"), "meter": meter, "dims": dims}, "the line before it", "another one")
    if recorded.lines_hash != head.content_hash:
        yield _finding(place, "content", head.content_hash, recorded.lines_hash)
    if head.record_hash is None and head.at >= since:
        yield _finding(place, "chain", "a link", None)
    if head.record_hash is not None and head.record_hash != hash_of(recorded.body):
        yield _finding(place, "record", head.record_hash, hash_of(recorded.body))


def _broken(connection: psycopg.Connection, names: Names, wanted: Wanted) -> Iterator[Finding]:
    given = {"beginning": BEGINNING, "tenant": wanted.tenant}
    for *place, number, previous, has_number, has_previous in _ask(connection, names, _BROKEN, given):
        yield _finding(Place(*place), "chain", f"{number} after {previous}", f"{has_number} after {has_previous}")


def _published(settings: Settings, connection: psycopg.Connection, wanted: Wanted) -> _Published:
    names = settings.names
    last = _value(connection, names, _LAST_SEQ)
    published = _Published({_place(json.loads(body)) for (body,) in _ask(connection, names, _PENDING)})
    for topic, name in zip(_TOPICS, (names.closes, names.corrections), strict=True):
        if any(earliest_offsets(settings, [name])[name].values()):
            # Until a record is read: all are gone.
            published.begins[topic] = datetime.max.replace(tzinfo=UTC)
        for record in dump(settings.kafka, name):
            _take(published, topic, record, last, wanted)
    return published


def _take(published: _Published, topic: Topic, record: Record, last: int, wanted: Wanted) -> None:
    try:
        seq, document = int(dict(record.headers)[HEADER]), json.loads(record.value or b"")
        place, digest = _place(document), _digest(document)
        at = _instant(document["made_at" if topic == "corrections" else "closed_at"])
    except (KeyError, ValueError, TypeError, AttributeError):
        subject = {"topic": topic, "partition": record.partition, "offset": record.offset, "what": "published"}
        published.strange.append(Finding(subject, None, "a record that the outbox did not make"))
        return
    if topic in published.begins:
        published.begins[topic] = min(published.begins[topic], at)
    if seq > last or not wanted.takes(*place[:2]):
        return
    if place in published.digests:
        published.strange.append(_finding(place, "published", None, "a second time"))
    published.digests.setdefault(place, digest)


def _place(document: dict[str, Any]) -> Place:
    start, end = (_instant(document[name]) for name in ("period_start", "period_end"))
    return Place(document["tenant_id"], document["customer_id"], start, end, int(document.get("correction_no", 0)))


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _digest(document: dict[str, Any]) -> str:
    # What an earlier version published may have had other fields; its lines have the same hash.
    compared = document if "chain_no" in document else document["content_hash"]
    return sha256(json.dumps(compared, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _subject(place: Place, what: str) -> dict[str, Any]:
    names = ("tenant_id", "customer_id", "period_start", "period_end", "correction_no")
    return {**dict(zip(names, place, strict=True)), "what": what}


def _finding(place: Place, what: str, expected: str | None, actual: str | None) -> Finding:
    return Finding(_subject(place, what), expected, actual)


def _value(connection: psycopg.Connection, names: Names, statement: str, values: Any = None) -> Any:
    return _ask(connection, names, statement, values)[0][0]


def _ask(connection: psycopg.Connection, names: Names, statement: str, values: Any = None) -> list[Any]:
    text = sql.SQL(statement).format(schema=sql.Identifier(names.billing_schema))
    return connection.execute(text, values).fetchall()
