"""Faults of the limits and plans of a catalog file by their meaning: each fault with its path."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tidemark.catalog.entries import limit_groups, mapping, meter_groups
from tidemark.catalog.text import Fault
from udfs.limits.rule import ThresholdError, canonical_threshold, decimal_cap

# Those that have one live total a period, which events raise; no other can reach a cap.
LIMITABLE = ("count", "sum", "unique")
# All of them are evaluated with each batch of totals.
MAX_THRESHOLDS = 50


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored and open, for a file to name.

    Parameters
    ----------
    meters:
        Aggregation by tenant (None for all tenants) and name.
    plans:
        Tenant and name of each plan that has limits.
    receivers:
        Receivers of alerts by name.
    """

    meters: Mapping[tuple[str | None, str], str] = field(default_factory=dict)
    plans: Collection[tuple[str, str]] = ()
    receivers: Collection[str] = ()


NOTHING = Known()


def limit_faults(content: Mapping[str, Any]) -> Iterator[Fault]:
    """Faults of caps, thresholds and revenue weights; the schema reports other types."""
    for group in limit_groups(content):
        for meter, value in group.limits.items():
            entry, path = mapping(value), f"{group.path}.{meter}"
            if (message := _cap_fault(entry.get("cap"))) is not None:
                yield Fault(f"{path}.cap", message)
            yield from _threshold_faults(f"{path}.thresholds", entry.get("thresholds"))
    for tenant, entry in mapping(content.get("tenants")).items():
        for customer, customer_entry in mapping(mapping(entry).get("customers")).items():
            weight = mapping(customer_entry).get("revenue_weight")
            if _is_number(weight) and not _is_share(weight):
                path = f"tenants.{tenant}.customers.{customer}.revenue_weight"
                yield Fault(path, f"{weight} is no share: 0 to 1 with at most 9 decimals.")


def _cap_fault(cap: Any) -> str | None:
    try:
        if _is_number(cap):
            decimal_cap(cap)
    except ThresholdError:
        return f"{cap} is no cap: 0 or more, below 1e29, at most 9 decimals."
    return None


def _threshold_faults(path: str, thresholds: Any) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    listed = thresholds if isinstance(thresholds, list) else []
    if len(listed) > MAX_THRESHOLDS:
        yield Fault(path, f"these are {len(listed)} thresholds; the limit is {MAX_THRESHOLDS}.")
    for index, stated in enumerate(listed):
        amount = mapping(stated).get("every") if isinstance(stated, Mapping) else stated
        if not _is_number(amount):
            continue  # reported by the schema
        try:
            text = canonical_threshold(stated)
        except ThresholdError as error:
            yield Fault(f"{path}.{index}", str(error))
            continue
        if text in seen:
            yield Fault(f"{path}.{index}", f"{text} is given at {seen[text]} already.")
        seen.setdefault(text, index)


def _is_number(value: Any) -> bool:
    """Whether it may be a number or the text of one."""
    return isinstance(value, int | float | Decimal | str) and not isinstance(value, bool)


def _is_share(weight: Any) -> bool:
    try:
        return decimal_cap(weight) <= 1
    except ThresholdError:
        return False


def limit_reference_faults(content: Mapping[str, Any], whole: Mapping[str, Any], known: Known) -> Iterator[Fault]:
    """A limit names a meter whose total grows; a customer names a plan that is described.

    `whole` is the content merged with what is stored.
    """
    meters = dict(known.meters)
    for owner, _, group in meter_groups(whole):
        meters |= {(owner, name): str(mapping(meter).get("aggregation", "")) for name, meter in group.items()}
    for limits in limit_groups(content):
        for meter, limit in limits.limits.items():
            if limit is None:
                continue  # removed
            aggregation = meters.get((limits.tenant, meter), meters.get((None, meter)))
            if aggregation is None:
                yield Fault(
                    f"{limits.path}.{meter}", f"{limits.tenant} has no meter {meter!r} that holds, here or stored."
                )
            elif aggregation and aggregation not in LIMITABLE:
                yield Fault(
                    f"{limits.path}.{meter}",
                    f"{meter} is a {aggregation}: only {', '.join(LIMITABLE)} have one live total that grows to a cap.",
                )
    yield from _plan_faults(content, known)


def _plan_faults(content: Mapping[str, Any], known: Known) -> Iterator[Fault]:
    for tenant, value in mapping(content.get("tenants")).items():
        entry = mapping(value)
        for customer, customer_entry in mapping(entry.get("customers")).items():
            plan = mapping(customer_entry).get("plan")
            if isinstance(plan, str) and plan not in mapping(entry.get("plans")) and (tenant, plan) not in known.plans:
                yield Fault(
                    f"tenants.{tenant}.customers.{customer}.plan",
                    f"there is no plan {plan!r} in tenants.{tenant}.plans, and no limits are stored for it.",
                )
