"""What the audit says of a change of the ledger, in its transaction."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import psycopg

from tidemark.billing.lines import PeriodKey
from tidemark.billing.refusals import DeadLetterCounts
from tidemark.billing.true_up import TrueUp
from tidemark.core import audit
from tidemark.core.names import Names
from udfs.values import rfc3339


def record(connection: psycopg.Connection, names: Names, by: str, due: TrueUp, dead_letters: DeadLetterCounts) -> None:
    """An entry for the batch, and one for each customer with periods that are closed in spite of their dead letters."""
    if not (due.closes or due.corrections):
        return
    counts = {"closes": len(due.closes), "corrections": len(due.corrections)}
    audit.record(connection, names.run_id, "close.close", names.billing_schema, by=by, **counts)
    accepted = sorted(close.key for close in due.closes if close.key in dead_letters.accepted)
    for pair, keys in groupby(accepted, lambda key: key[:2]):
        periods = [_period(key, dead_letters) for key in keys]
        audit.record(connection, names.run_id, "close.accept_dead_letters", "/".join(pair), by=by, periods=periods)


def _period(key: PeriodKey, dead_letters: DeadLetterCounts) -> dict[str, Any]:
    figures = {"dead_letters": dead_letters.counts.get(key, 0), "open": dead_letters.open.get(key, 0)}
    return {"period_start": rfc3339(key.start), "period_end": rfc3339(key.end), **figures}
