"""Parity of two systems that run side by side, for each customer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext
from itertools import chain
from typing import NamedTuple

from udfs.values import EXACT

# Parity at which a parallel run can end.
LINE = Decimal("0.999")

_Pair = tuple[Decimal, Decimal]


class Line(NamedTuple):
    """A meter of a customer in a period of both systems; `period` is its first instant as text."""

    tenant_id: str
    customer_id: str
    meter: str
    period: str


@dataclass(frozen=True, slots=True)
class Parity:
    """Parity of a customer.

    Parameters
    ----------
    parity:
        0 to 1, of its worst meter; 1: exactly equal.
    meter:
        Its worst meter.
    ours, theirs:
        Sums of that meter over all periods compared.
    lines, equal:
        Lines of the customer, and how many of them are equal.
    """

    tenant_id: str
    customer_id: str
    parity: Decimal
    meter: str
    ours: Decimal
    theirs: Decimal
    lines: int
    equal: int

    @property
    def reached(self) -> bool:
        """Whether it is at or above LINE."""
        return self.parity >= LINE


def parities(ours: Mapping[Line, Decimal], theirs: Mapping[Line, Decimal]) -> list[Parity]:
    """Parity of every customer, worst first.

    For a meter it is 1 - sum |ours - theirs| / sum max(|ours|, |theirs|) over its periods: too much in one period
    does not compensate too little in another, and a missing line counts as 0. A customer has the parity of its worst
    meter, because units differ and cannot be added.
    """
    meters: dict[tuple[str, str], dict[str, list[_Pair]]] = {}
    for line in {**ours, **theirs}:
        pair = ours.get(line, Decimal(0)), theirs.get(line, Decimal(0))
        meters.setdefault((line.tenant_id, line.customer_id), {}).setdefault(line.meter, []).append(pair)
    with localcontext(EXACT):
        customers = [_customer(*key, pairs) for key, pairs in meters.items()]
    return sorted(customers, key=lambda parity: (parity.parity, parity.tenant_id, parity.customer_id))


def parity_of(pairs: Iterable[_Pair]) -> Decimal:
    """1 - sum |a - b| / sum max(|a|, |b|), 0 to 1 (figures of different sign share nothing); 1 when all are 0."""
    apart = whole = Decimal(0)
    for ours, theirs in pairs:
        most = max(abs(ours), abs(theirs))
        apart += min(abs(ours - theirs), most)
        whole += most
    return 1 - apart / whole if whole else Decimal(1)


def _customer(tenant: str, customer: str, meters: Mapping[str, list[_Pair]]) -> Parity:
    parity, worst = min((parity_of(pairs), meter) for meter, pairs in meters.items())
    ours, theirs = (sum(column, Decimal(0)) for column in zip(*meters[worst], strict=True))
    pairs = [*chain.from_iterable(meters.values())]
    equal = sum(left == right for left, right in pairs)
    return Parity(tenant, customer, parity, worst, ours, theirs, len(pairs), equal)
