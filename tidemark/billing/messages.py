"""Closes and corrections as records of `usage.closes` and `usage.corrections`, and a consumer that adds them up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from tidemark.billing.chain import Link
from tidemark.billing.lines import Line, LineKey, Lines, PeriodKey, content_hash
from tidemark.billing.true_up import Cause, Close, Correction, Entry
from udfs.values import plain, rfc3339


class LedgerGapError(ValueError):
    """A record does not follow from those before it: a record is missing, or a number was changed on the way."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the closes and corrections of one transaction share.

    Parameters
    ----------
    at:
        Its instant, by the clock of the database.
    by:
        Who or what made them.
    run_id:
        Run whose rollups are read; '' for the live run.
    rests_on:
        Next offset by topic, then partition: every record before was applied.
    watermark:
        Arrival watermark.
    catalog_revision:
        Revision of the catalog.
    """

    at: datetime
    by: str
    run_id: str
    rests_on: Mapping[str, Mapping[str, int]]
    watermark: datetime
    catalog_revision: int


def key_of(key: PeriodKey) -> str:
    """Key of the Kafka record: tenant and customer as a JSON array."""
    return json.dumps([key.tenant_id, key.customer_id], ensure_ascii=False, separators=(",", ":"))


def close_message(close: Close, context: Context, dead_letters: int = 0, link: Link | None = None) -> str:
    """Value of a record of `usage.closes`, JSON; decimals are text."""
    return _text(
        {
            **_period(close.key),
            "closed_at": rfc3339(context.at),
            "closed_by": context.by,
            "run_id": context.run_id,
            "catalog_revision": context.catalog_revision,
            "watermark": rfc3339(context.watermark),
            "rests_on": _sorted(context.rests_on),
            "dead_letters": dead_letters,
            "lines": [{**_line_key(at), **_line(line)} for at, line in sorted(close.lines.items())],
            "content_hash": content_hash(close.key, close.lines),
            **_chained(link),
        }
    )


def correction_message(
    correction: Correction, context: Context, cause: Cause, replay_id: str | None, link: Link | None = None
) -> str:
    """Value of a record of `usage.corrections`, JSON; decimals are text."""
    changes = [
        {
            **_line_key(at),
            "before": None if change.before is None else _line(change.before),
            "after": None if change.after is None else _line(change.after),
            "delta": plain(change.delta),
        }
        for at, change in sorted(correction.changes.items())
    ]
    return _text(
        {
            **_period(correction.key),
            "correction_no": correction.number,
            "cause": cause,
            "replay_id": replay_id,
            "stands": correction.is_current,
            "made_at": rfc3339(context.at),
            "made_by": context.by,
            "run_id": context.run_id,
            "rests_on": _sorted(context.rests_on),
            "lines": changes,
            "content_hash": content_hash(correction.key, correction.lines),
            **_chained(link),
        }
    )


class LedgerReader:
    """The ledger as a consumer of both topics sees it: adds up the records, in the order of each topic.

    A correction may be read before its close; it then waits for it.
    """

    def __init__(self) -> None:
        self.entries: dict[PeriodKey, Entry] = {}
        self._waiting: dict[PeriodKey, list[dict[str, Any]]] = {}

    def close(self, value: bytes | str) -> None:
        """Take a record of `usage.closes`.

        Raises
        ------
        LedgerGapError
            The period was closed before, or the hash does not match its lines.
        """
        record = json.loads(value)
        key = _read_period(record)
        if key in self.entries:
            raise LedgerGapError(f"{key} was closed twice")
        lines = {_read_key(row): _read_line(row) for row in record["lines"]}
        _check(key, lines, record["content_hash"])
        self.entries[key] = Entry(lines)
        for waiting in self._waiting.pop(key, []):
            self._correct(key, waiting)

    def correct(self, value: bytes | str) -> None:
        """Take a record of `usage.corrections`.

        Raises
        ------
        LedgerGapError
            An earlier correction is missing, the value before it differs, or the hash does not match the lines.
        """
        record = json.loads(value)
        key = _read_period(record)
        if key in self.entries:
            self._correct(key, record)
        else:
            self._waiting.setdefault(key, []).append(record)

    def _correct(self, key: PeriodKey, record: Mapping[str, Any]) -> None:
        entry = self.entries[key]
        if record["correction_no"] != entry.corrections + 1:
            raise LedgerGapError(f"{key}: correction {record['correction_no']} follows {entry.corrections}")
        lines = dict(entry.lines)
        for row in record["lines"]:
            at, before, after = _read_key(row), row["before"], row["after"]
            known = lines.pop(at, None)
            if (None if before is None else Decimal(before["value"])) != (None if known is None else known.value):
                raise LedgerGapError(f"{key}: {at} was {known}, the correction says {before}")
            if after is not None:
                lines[at] = _read_line(after)
        _check(key, lines, record["content_hash"])
        self.entries[key] = Entry(lines, entry.corrections + 1, record["stands"])


def _chained(link: Link | None) -> dict[str, Any]:
    return {} if link is None else {"chain_no": link.number, "previous_hash": link.previous}


def _sorted(offsets: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """In an order that a table does not lose: the hash of a record is made again from its row."""
    return {topic: dict(sorted(offsets[topic].items())) for topic in sorted(offsets)}


def _check(key: PeriodKey, lines: Lines, stated: str) -> None:
    if content_hash(key, lines) != stated:
        raise LedgerGapError(f"{key}: the lines do not have the hash {stated}")


def _period(key: PeriodKey) -> dict[str, str]:
    start, end = rfc3339(key.start), rfc3339(key.end)
    return {"tenant_id": key.tenant_id, "customer_id": key.customer_id, "period_start": start, "period_end": end}


def _line_key(at: LineKey) -> dict[str, str]:
    return {"meter": at.meter, "dims": at.dims}


def _line(line: Line) -> dict[str, Any]:
    return {
        "aggregation": line.aggregation,
        "unit": line.unit,
        "n": line.n,
        "samples": line.samples,
        "value": plain(line.value),
    }


def _read_period(record: Mapping[str, Any]) -> PeriodKey:
    start, end = (datetime.fromisoformat(record[name]) for name in ("period_start", "period_end"))
    return PeriodKey(record["tenant_id"], record["customer_id"], start, end)


def _read_key(row: Mapping[str, Any]) -> LineKey:
    return LineKey(row["meter"], row["dims"])


def _read_line(row: Mapping[str, Any]) -> Line:
    return Line(row["aggregation"], row["unit"], row["n"], row["samples"], Decimal(row["value"]))


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
