"""A limit as the catalog states it: cap, mode, thresholds; and the amounts at which it has something to say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any, Literal

from udfs.meters.meter import BEGINNING_MS, FOREVER_MS
from udfs.values import EXACT, plain, rfc3339, rounded

Scope = Literal["tenant", "plan", "customer"]
Mode = Literal["hard", "soft"]
OnUnknown = Literal["fail_open", "fail_closed"]

# Most specific first: the first scope that states a limit of the meter states all of it.
SCOPES: tuple[Scope, ...] = ("customer", "plan", "tenant")
# DECIMAL(38, 9), as totals have it.
_DECIMALS = 9
_LARGEST = Decimal(10) ** 29
_THRESHOLD = re.compile(r"(every )?([0-9]+(?:\.[0-9]+)?)(%)?")


class ThresholdError(ValueError):
    """A threshold that says no amount."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """One amount that is reported when a total reaches it, or every step of one.

    Parameters
    ----------
    text:
        Canonical: `80%`, `5000`, `every 10%`, `every 1000`.
    amount:
        Of one: the amount itself; of a step: its length; above zero, in the unit of the meter.
    recurring:
        Whether it is a step.
    """

    text: str
    amount: Decimal
    recurring: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """One version of a limit, for event times in [valid_from_ms, valid_to_ms).

    Parameters
    ----------
    tenant_id, scope, scope_id, meter:
        Whose it is: each customer of the tenant (scope_id empty), of a plan, or one customer.
    cap:
        Largest usage of a period that is allowed; reached means `>=`.
    mode:
        `hard` denies at the cap; `soft` only tells.
    thresholds:
        Canonical texts, see `canonical_threshold`.
    on_unknown:
        What a reader answers that cannot know the usage.
    """

    tenant_id: str
    scope: Scope
    scope_id: str
    meter: str
    cap: Decimal
    mode: Mode = "soft"
    thresholds: tuple[str, ...] = ("80%",)
    on_unknown: OnUnknown = "fail_open"
    valid_from_ms: int = BEGINNING_MS
    valid_to_ms: int = FOREVER_MS
    _parsed: list[tuple[Threshold, ...]] = field(default_factory=list, init=False, compare=False, repr=False)
    _version: list[str] = field(default_factory=list, init=False, compare=False, repr=False)

    @property
    def watched(self) -> tuple[Threshold, ...]:
        """The thresholds in amounts, ascending; those that come to nothing (a share of a cap of 0) are left out."""
        if not self._parsed:
            found = [threshold_of(text, self.cap) for text in self.thresholds]
            self._parsed.append(tuple(sorted((one for one in found if one), key=lambda one: (one.amount, one.text))))
        return self._parsed[0]

    @property
    def version(self) -> str:
        """Names this version among all limits of a tenant: scope, its id, its begin, and a hash of what it says.

        The hash is for a backdated change, which may begin when what it replaces began.
        """
        if not self._version:
            said = "\x1f".join((plain(self.cap), self.mode, self.on_unknown, *self.thresholds))
            digest = blake2b(said.encode(), digest_size=4).hexdigest()
            begin = "beginning" if self.valid_from_ms == BEGINNING_MS else rfc3339(self.valid_from_ms)
            self._version.append(f"{self.scope}/{self.scope_id}@{begin}-{digest}")
        return self._version[0]


def canonical_threshold(stated: Any) -> str:
    """The canonical text of a threshold as a catalog file states it.

    Parameters
    ----------
    stated:
        An amount (`5000`, `"0.5"`), a share of the cap (`"80%"`), or `{every: either}`; numbers may be Decimals.

    Raises
    ------
    ThresholdError
        It is not one of these, not above zero, or has more than 9 decimals.
    """
    if isinstance(stated, Mapping):
        if set(stated) != {"every"} or isinstance(stated["every"], Mapping):
            raise ThresholdError(f"{dict(stated)!r} is no threshold: write an amount, a share or {{every: either}}.")
        return f"every {canonical_threshold(stated['every'])}"
    text = format(stated, "f") if isinstance(stated, Decimal) else str(stated)
    match = None if isinstance(stated, bool) else _THRESHOLD.fullmatch(text)
    if match is None or match[1]:
        raise ThresholdError(f'{text!r} is no threshold: write an amount (5000), a share of the cap ("80%") or every.')
    number = Decimal(match[2])
    if not 0 < number < _LARGEST or number != rounded(number, _DECIMALS):
        raise ThresholdError(f"{text!r} must be above 0 and below 1e29 with at most 9 decimals.")
    return f"{plain(number)}{match[3] or ''}"


def threshold_of(text: str, cap: Decimal) -> Threshold | None:
    """The threshold of a canonical text under a cap; None where it comes to nothing."""
    match = _THRESHOLD.fullmatch(text)
    if match is None:
        raise ThresholdError(f"{text!r} is no canonical threshold.")
    amount = Decimal(match[2])
    if match[3]:
        amount = rounded(EXACT.divide(EXACT.multiply(amount, cap), Decimal(100)), _DECIMALS)
    return Threshold(text, Decimal(plain(amount)), recurring=bool(match[1])) if amount > 0 else None


def decimal_cap(stated: Any) -> Decimal:
    """The cap of a number or its text.

    Raises
    ------
    ThresholdError
        It is no number, below zero, or does not fit DECIMAL(38, 9).
    """
    try:
        number = Decimal(str(stated)) if not isinstance(stated, bool) else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or not 0 <= number < _LARGEST or number != rounded(number, _DECIMALS):
        raise ThresholdError(f"{stated!r} is no cap: 0 or more, below 1e29, at most 9 decimals.")
    return Decimal(plain(number))


def most_specific(limits: Sequence[Limit], at_ms: int) -> Limit | None:
    """Of one customer's candidates for one meter, the one that holds at an instant."""
    holding = {limit.scope: limit for limit in limits if limit.valid_from_ms <= at_ms < limit.valid_to_ms}
    return next((holding[scope] for scope in SCOPES if scope in holding), None)
