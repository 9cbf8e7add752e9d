"""Transactions of exactly-once sinks, as the brokers know them: numbered by the checkpoint that ends each."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, NamedTuple

from kafka.errors import UnsupportedVersionError

from tidemark.core.kafka import clients
from tidemark.core.settings import KafkaSettings

COMMITTED = frozenset({"PrepareCommit", "CompleteCommit"})
ABORTED = frozenset({"PrepareAbort", "PrepareEpochFence", "CompleteAbort", "Dead"})


class Transaction(NamedTuple):
    """A transaction of a sink; `number` is that of the first checkpoint that may end it."""

    id: str
    number: int
    state: str


def transactions(
    kafka: KafkaSettings, job: str, states: Collection[str] = (), numbers: str = "[0-9]+"
) -> list[Transaction]:
    """Transactions of all sinks of a job whose ids the brokers still know, by number.

    Parameters
    ----------
    kafka:
        How to reach the brokers; the user needs the right to describe the ids, else there are none.
    job:
        Flink's name of the job, with which its transactional ids begin.
    states:
        Only these, of those that Kafka names; all when empty.
    numbers:
        Pattern that the whole number matches: `above` makes one.

    Raises
    ------
    UnavailableError
        No broker answers, or Kafka refuses.
    """
    # Flink's sinks call a transaction PREFIX-SUBTASK-NUMBER, and the prefix is the job with the name of the sink.
    pattern = f"{re.escape(job)}-[a-z]+-[0-9]+-(?:{numbers})"
    with clients.admin(kafka) as admin:
        listed = clients.when_ready(lambda: _listed(admin, sorted(states), pattern))
    named = re.compile(pattern)
    found = [
        Transaction(one.transactional_id, int(one.transactional_id.rpartition("-")[2]), one.state.value)
        for many in listed.values()
        for one in many
        if named.fullmatch(one.transactional_id)
    ]
    return sorted(found, key=lambda one: (one.number, one.id))


def above(number: int) -> str:
    """A pattern of the numbers greater than `number`."""
    digits = str(number)
    greater = [
        f"{digits[:place]}[{int(digit) + 1}-9][0-9]{{{len(digits) - place - 1}}}"
        for place, digit in enumerate(digits)
        if digit != "9"
    ]
    return "|".join([*greater, f"[1-9][0-9]{{{len(digits)},}}"])


def _listed(admin: Any, states: list[str], pattern: str) -> dict[int, list[Any]]:
    """What every broker lists; one before 4.1 lists the transactions of everybody, of which the rest is left out."""
    try:
        listed: dict[int, list[Any]] = admin.list_transactions(state_filters=states, transactional_id_pattern=pattern)
    except UnsupportedVersionError:
        listed = admin.list_transactions(state_filters=states)
    return listed
