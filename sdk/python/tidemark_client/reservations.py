"""Amounts that are set aside for work whose size is known only afterwards; pure, beside the commands that keep them.

They are a stream of Redis for each customer and meter: an entry an amount, with how long it holds. Redis numbers the
entries by its own clock, so all services agree which came first and which are over. A reservation yields to those
before it and to none after it: of any number that are made at once, as many are allowed as fit, and never one more.
What was used counts wherever it is: it may have taken the place of a reservation that came before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from tidemark_client.decision import EXACT, Decision, Wanted, amount_of
from tidemark_client.evaluate import Judge, Question
from tidemark_client.keys import reservations_key
from tidemark_client.stored import UnreadableError, amount_of_text

# The key lives as long as any of its entries may.
MOST_S = 3_600.0
# From a use to its counter: the recorder sends within a second, and the pipeline takes about another.
COUNTED_WITHIN_S = 10.0
_ZERO = Decimal(0)
_RESERVED, _USED = "reserved", "used"
# Replies to `queue_reservation`, before those of the check.
_OWN = 3


@dataclass(frozen=True)
class Reservation:
    """An amount that was asked for, and the answer; true where work may begin.

    Parameters
    ----------
    decision:
        As of a check, with what others have reserved taken from `remaining`.
    reserved:
        What others had reserved before; None: unknown.
    key, id:
        Where the amount is set aside; an empty id: nowhere.
    expired:
        Entries that were found to be over.
    """

    decision: Decision
    reserved: Decimal | None
    key: str
    id: str = ""
    expired: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.decision.allowed


def seconds_ms(name: str, seconds: float) -> int:
    """How long an entry holds, in ms; ValueError where that is not above 0 and within an hour."""
    if not 0 < seconds <= MOST_S:
        raise ValueError(f"{name} is {seconds!r}: give seconds above 0, at most {MOST_S:.0f}.")
    return max(1, int(seconds * 1_000))


def reservable(amount: Wanted) -> Decimal:
    """An amount that can be set aside; ValueError where a counter could not hold it."""
    return amount_of_text(str(amount_of(amount)))


def key_of(prefix: str, question: Question) -> str:
    """Key of the reservations of a customer and meter, whichever version counts."""
    return reservations_key(prefix, question.tenant, question.customer, question.meter)


def queue_entry(pipeline: Any, key: str, kind: str, amount: Decimal, holds_ms: int) -> None:
    """Put an amount aside."""
    pipeline.execute_command("XADD", key, "*", "kind", kind, "amount", str(amount), "holds_ms", holds_ms)
    pipeline.execute_command("PEXPIRE", key, int(MOST_S * 1_000))


def queue_reservation(pipeline: Any, key: str, amount: Decimal, holds_ms: int) -> None:
    """Put an amount aside and read all there are; the check comes after it."""
    queue_entry(pipeline, key, _RESERVED, amount, holds_ms)
    pipeline.execute_command("XRANGE", key, "-", "+")


def queue_settlement(pipeline: Any, reservation: Reservation, used: Decimal, holds_ms: int) -> None:
    """Put what was used in the place of what was reserved, until its event is counted."""
    # First, so that at no time neither is there.
    if used:
        queue_entry(pipeline, reservation.key, _USED, used, holds_ms)
    queue_removal(pipeline, reservation)


def queue_removal(pipeline: Any, reservation: Reservation) -> None:
    """Remove a reservation, and those that were found to be over."""
    pipeline.execute_command("XDEL", reservation.key, reservation.id, *reservation.expired)


def split(replies: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Replies to `queue_reservation`, and those to the check after it."""
    return replies[:_OWN], replies[_OWN:]


def reserved(judge: Judge, question: Question, key: str, own: Sequence[Any], check: Sequence[Any]) -> Reservation:
    """The answer on the replies; never raises for what they are."""
    try:
        entry_id = _text(_good(own[0]))
        before, expired = before_of(_good(own[2]), entry_id)
    except (ValueError, ArithmeticError, LookupError, TypeError) as error:
        return Reservation(judge.failed(question, error), None, key)
    decision = judge.answered(replace(question, wanted=EXACT.add(question.wanted, before)), check)
    remaining = None if decision.remaining is None else max(EXACT.subtract(decision.remaining, before), _ZERO)
    decision = replace(decision, wanted=question.wanted, remaining=remaining)
    return Reservation(decision, before, key, entry_id, expired)


def before_of(entries: Sequence[tuple[Any, Any]], own: str) -> tuple[Decimal, tuple[str, ...]]:
    """What was reserved before `own`, and used, together; and the ids of the entries that were over by then.

    Raises
    ------
    UnreadableError
        An entry is not valid.
    """
    now_ms, total, after = _ms(own), _ZERO, False
    expired: list[str] = []
    for raw_id, fields in entries:
        entry = _text(raw_id)
        read = {_text(name): _text(value) for name, value in fields.items()}
        after = after or entry == own
        if _ms(entry) + int(read["holds_ms"]) <= now_ms:
            expired.append(entry)
        elif not after or read.get("kind") == _USED:
            total = EXACT.add(total, amount_of_text(read["amount"]))
    return total, tuple(expired)


def _ms(entry: str) -> int:
    return int(entry.partition("-")[0])


def _good(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise UnreadableError(f"{type(reply).__name__}: {reply}")
    return reply


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
