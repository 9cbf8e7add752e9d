"""What Redis holds of a customer and meter, as values: read strictly, so that nothing is decided on a torn hash."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import lru_cache
from typing import Any, Literal, Union, cast, get_args

from tidemark_client.layout import COUNTER_FIELDS

Mode = Literal["hard", "soft"]
OnUnknown = Literal["fail_open", "fail_closed"]
# A policy; empty: there is none; None: it is unknown.
Declared = Union[OnUnknown, Literal[""], None]

# Amounts are DECIMAL(38, 9) where they are written.
_STORED = Context(prec=38, traps=[Inexact, InvalidOperation])
_SCALE = Decimal("1e-9")
_ON_UNKNOWN = COUNTER_FIELDS.index("on_unknown")
# The first instant of the year 10000, which datetime does not reach.
_END_OF_TIME_MS = 253_402_300_800_000


class UnreadableError(ValueError):
    """Redis answered, but not with what a counter, a limit or a suspension looks like."""


@dataclass(frozen=True)
class Limit:
    """A cap, in the unit of its meter, whether it denies, and the rule it comes from (empty: unnamed)."""

    cap: Decimal
    mode: Mode
    rule: str


@dataclass(frozen=True)
class Counter:
    """Usage of a half-open period in UTC epoch ms; without a period nothing was used yet.

    Parameters
    ----------
    start_ms, end_ms:
        Both or neither.
    used:
        Exact, in the unit of the meter.
    limit:
        None where nothing is limited.
    exhausted_at_ms:
        When the cap is reached at the present rate, if that is within the period.
    limits_known:
        Whether its writer knew the limits: a total is written back before they are.
    """

    start_ms: int | None
    end_ms: int | None
    used: Decimal
    limit: Limit | None
    exhausted_at_ms: int | None
    limits_known: bool = True


@dataclass(frozen=True)
class Suspension:
    """Denies every meter of a customer until an instant in epoch ms; None: until it is taken back."""

    reason: str
    by: str
    until_ms: int | None


@dataclass(frozen=True)
class Stored:
    """The replies to one check.

    Parameters
    ----------
    counter, suspension, default:
        None where there is none; `default` is the tenant's limit for customers without a counter.
    rebuilt:
        Whether all counters were written since Redis last lost its data: only then is a missing one zero.
    heartbeat_ms:
        Epoch ms of the newest proof that the pipeline moves.
    """

    counter: Counter | None
    suspension: Suspension | None
    default: Limit | None
    rebuilt: bool
    heartbeat_ms: int | None


def texts(replies: Sequence[Any]) -> list[Any]:
    """The replies with bytes as text: a caller's client may not decode."""
    return [_texts(reply) for reply in replies]


def parse(replies: Sequence[Any]) -> Stored:
    """Read the replies to the commands of `layout.queue`, as text.

    Raises
    ------
    UnreadableError
        A command failed, or a value is not of its kind.
    """
    for reply in replies:
        if isinstance(reply, Exception):
            raise UnreadableError(describe(reply))
    suspension, counter, default, (marker, heartbeat, _) = replies
    return Stored(
        _counter(*counter), _suspension(suspension), default_of(default)[0], marker is not None, _beat(heartbeat)
    )


def declared(replies: Sequence[Any]) -> tuple[Declared, Declared]:
    """The policies of a counter and of its tenant's default, however broken the rest of the replies is."""
    _, counter, default, marks = replies
    # What a Redis that lost its data does not say, the catalog may say.
    complete = isinstance(marks, list) and marks[0] is not None
    there = isinstance(counter, list) and any(field is not None for field in counter)
    own = on_unknown_of(counter[_ON_UNKNOWN]) if there else None
    return own or ("" if there and complete else None), _default_declared(default, complete=complete)


@lru_cache(maxsize=4_096)
def default_of(text: str | None) -> tuple[Limit | None, OnUnknown | None]:
    """A tenant's limit for customers without a counter, and the policy with it; both None where there is none.

    Raises
    ------
    UnreadableError
        It is no JSON object of texts, or its limit is not valid.
    """
    if not isinstance(text, str):
        return None, None
    try:
        document = json.loads(text)
        found = {name: document.get(name) or "" for name in ("limit", "mode", "rule", "on_unknown")}
    except (ValueError, AttributeError, RecursionError) as error:
        raise UnreadableError(f"{text[:100]!r} is no limit: {describe(error)}") from error
    if not all(isinstance(value, str) for value in found.values()):
        raise UnreadableError(f"{text[:100]!r} is no limit: its values must be texts.")
    return _limit(found["limit"], found["mode"], found["rule"]), on_unknown_of(found["on_unknown"])


def on_unknown_of(text: Any) -> OnUnknown | None:
    """The policy that a text names; None for any other."""
    return cast(OnUnknown, text) if text in get_args(OnUnknown) else None


def describe(error: BaseException) -> str:
    """An error in one short text."""
    return f"{type(error).__name__}: {error}"[:300]


def _counter(*fields: str | None) -> Counter | None:
    if all(field is None for field in fields):
        return None
    start, end, total, cap, mode, _, rule, exhausted, revision = fields
    start_ms, end_ms = _instant(start), _instant(end)
    if (start_ms is None) != (end_ms is None):
        raise UnreadableError(f"a period from {start!r} to {end!r} is not valid.")
    amount = amount_of_text(total or "0")
    limit = _limit(cap or "", mode or "", rule or "")
    return Counter(start_ms, end_ms, amount, limit, _instant(exhausted), limit is not None or revision is not None)


def _limit(cap: str, mode: str, rule: str) -> Limit | None:
    if not cap:
        return None
    if mode not in get_args(Mode):
        raise UnreadableError(f"{mode[:100]!r} is no mode of a limit: hard or soft.")
    return Limit(amount_of_text(cap), cast(Mode, mode), rule)


def _suspension(fields: Mapping[str, str]) -> Suspension | None:
    if not fields:
        return None
    return Suspension(fields.get("reason", ""), fields.get("by", ""), _instant(fields.get("until")))


def amount_of_text(text: str) -> Decimal:
    """An amount as Redis holds it; UnreadableError where it has more than 38 digits, or 9 decimals."""
    try:
        number = Decimal(text)
        finite = number.is_finite() and _STORED.quantize(number, _SCALE).is_finite()
    except ArithmeticError:
        finite = False
    if not finite:
        raise UnreadableError(f"{text[:100]!r} is no amount of at most 38 digits, 9 of them decimals.")
    return number


def _default_declared(reply: Any, *, complete: bool) -> Declared:
    if isinstance(reply, Exception):
        return None
    try:
        return default_of(reply)[1] or ("" if complete else None)
    except UnreadableError:
        return None


def _instant(text: str | None) -> int | None:
    if not text:
        return None
    at_ms = next(_integers(text), -1)
    if not 0 <= at_ms < _END_OF_TIME_MS:
        raise UnreadableError(f"{text[:100]!r} is no instant in epoch milliseconds.")
    return at_ms


def _beat(text: str | None) -> int | None:
    # No proof is the same as none that can be read.
    return next(_integers(text or ""), None)


def _integers(text: str) -> Iterator[int]:
    if text.isascii() and text.isdigit() and len(text) <= 15:  # noqa: PLR2004  15 digits: until the year 33658
        yield int(text)


def _texts(reply: Any) -> Any:
    if isinstance(reply, list):
        return [one.decode() if isinstance(one, bytes) else one for one in reply]
    if isinstance(reply, dict):
        return dict(zip(_texts([*reply]), _texts([*reply.values()]))) if reply else reply
    return reply.decode() if isinstance(reply, bytes) else reply
