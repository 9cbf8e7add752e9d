"""Which limit holds for one customer and meter, when: plans change, limits change, and the most specific one wins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from udfs.limits.rule import Limit, most_specific
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """The plan of a customer for event times in [valid_from_ms, valid_to_ms); None for no plan."""

    plan: str | None
    valid_from_ms: int = BEGINNING_MS
    valid_to_ms: int = FOREVER_MS


@dataclass(frozen=True, slots=True)
class CustomerRules:
    """What the catalog states of one customer alone: its plans, and the limits in its name; all versions."""

    plans: Sequence[PlanVersion] = ()
    limits: Sequence[Limit] = ()


@dataclass(frozen=True, slots=True)
class Stretch:
    """Event times [start_ms, end_ms) for which one limit holds, or none."""

    start_ms: int
    end_ms: int
    limit: Limit | None


def timeline(meter: str, shared: Iterable[Limit], rules: CustomerRules) -> tuple[Stretch, ...]:
    """Stretches that tile all time, ascending; neighbours differ.

    Parameters
    ----------
    meter:
        Meter the limit is of.
    shared:
        Limits of the tenant and of its plans, any meter.
    rules:
        The customer's own.
    """
    tenant_wide = [one for one in shared if one.meter == meter and one.scope != "customer"]
    own = [one for one in rules.limits if one.meter == meter]
    bounds = {BEGINNING_MS, FOREVER_MS}
    versions: list[Limit | PlanVersion] = [*tenant_wide, *own, *rules.plans]
    for version in versions:
        bounds |= {version.valid_from_ms, version.valid_to_ms}
    found: list[Stretch] = []
    instants = sorted(bounds)
    for start_ms, end_ms in pairwise(instants):
        plan = plan_at(rules.plans, start_ms)
        candidates = [*own, *(one for one in tenant_wide if one.scope == "tenant" or one.scope_id == plan)]
        limit = most_specific(candidates, start_ms)
        if found and found[-1].limit == limit:
            found[-1] = Stretch(found[-1].start_ms, end_ms, limit)
        else:
            found.append(Stretch(start_ms, end_ms, limit))
    return tuple(found)


def plan_at(plans: Sequence[PlanVersion], at_ms: int) -> str | None:
    """The plan that holds at an instant."""
    return next((one.plan for one in plans if one.valid_from_ms <= at_ms < one.valid_to_ms), None)


def stretch_at(stretches: Sequence[Stretch], at_ms: int) -> Stretch:
    """The stretch an instant is in."""
    return next(one for one in stretches if one.start_ms <= at_ms < one.end_ms)


def superseded(stretches: Sequence[Stretch], start_ms: int, at_ms: int) -> list[Limit]:
    """Limits that held at some time in [start_ms, at_ms] and do no more at `at_ms`, oldest first, each once."""
    now = stretch_at(stretches, at_ms).limit
    before = [one.limit for one in stretches if one.end_ms > start_ms and one.start_ms <= at_ms]
    return list(dict.fromkeys(one for one in before if one is not None and one != now))
