"""Compiles each meter to a SELECT over the placed events, with its filter, group-by values and value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tidemark.core.errors import UsageError
from tidemark.oracle.paths import Paths, quoted

_KEYS = {
    "event_types", "aggregation", "unit", "group_by", "allow_negative", "value", "on_missing", "filter", "per",
    "precision",
}  # fmt: skip
_AGGREGATIONS = {"count", "sum", "min", "max", "avg", "latest", "unique", "percentile", "weighted_sum"}
_ORDER = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_JOINED = {"all": (" AND ", "true"), "any": (" OR ", "false")}
# Aggregations whose values may have any sign: the value is not used, is no number, or changes a level.
_ANY_SIGN = {"count", "unique", "weighted_sum"}
_SERIES = (
    "partition", '"offset"', "tenant_id", "customer_id", "event_id", "event_ms", "nanos", "source", "minute_utc", "day",
    "period_start", "period_end",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MeterRule:
    """What a meter does at some steps of a catalog's history.

    Parameters
    ----------
    steps:
        Numbers of the steps.
    owner:
        Tenant; None for all tenants but the hidden ones.
    hidden:
        Tenants that have a meter of this name of their own.
    """

    steps: tuple[int, ...]
    owner: str | None
    hidden: tuple[str, ...]
    meter: str
    event_types: tuple[str, ...]
    aggregation: str
    group_by: tuple[str, ...]
    allow_negative: bool
    value: str
    skip: bool
    filter: Any
    per: str
    exact: bool


def rule_of(step: int, owner: str | None, hidden: tuple[str, ...], meter: str, entry: Mapping[str, Any]) -> MeterRule:
    """A meter from its entry in a catalog file.

    Raises
    ------
    UsageError
        The entry has something that the oracle does not know.

    """
    unknown = sorted(set(entry) - _KEYS) or sorted({entry["aggregation"]} - _AGGREGATIONS)
    if unknown:
        raise UsageError(f"the oracle does not know {', '.join(unknown)} of meter {meter}.", "extend tidemark/oracle.")
    types = entry["event_types"]
    return MeterRule(
        steps=(step,),
        owner=owner,
        hidden=hidden,
        meter=meter,
        event_types=(types,) if isinstance(types, str) else tuple(types),
        aggregation=entry["aggregation"],
        group_by=tuple(entry.get("group_by") or ()),
        allow_negative=bool(entry.get("allow_negative", False)),
        value=entry.get("value") or "quantity",
        skip=entry.get("on_missing") == "skip",
        filter=entry.get("filter") or None,
        per=entry.get("per") or "hour",
        exact=entry.get("precision") == "exact",
    )


def statements_of(rules: Sequence[MeterRule]) -> tuple[str, str]:
    """SQL of the tables `looked_up` (events with every property that some meter asks for) and `measured`."""
    paths = Paths()
    selects = [_select(rule, paths) for rule in _merged(rules)]
    if not selects:
        selects = [f"SELECT {', '.join(_SERIES)}, {_nothing()} FROM looked_up WHERE false"]
    return paths.statement(), "CREATE TABLE measured AS\n" + "\nUNION ALL\n".join(selects)


def _nothing() -> str:
    names = ("meter", "aggregation", "dims", "value_text")
    texts = ", ".join(f"NULL::VARCHAR AS {name}" for name in names)
    return f"false AS is_void, {texts}, NULL::DECIMAL(38, 9) AS value, NULL::VARCHAR AS refusal"


def _merged(rules: Iterable[MeterRule]) -> list[MeterRule]:
    """Meters that stay the same over several steps become one statement."""
    merged: list[MeterRule] = []
    for rule in rules:
        for place, other in enumerate(merged):
            if replace(other, steps=rule.steps) == rule:
                merged[place] = replace(other, steps=other.steps + rule.steps)
                break
        else:
            merged.append(rule)
    return merged


def _select(rule: MeterRule, paths: Paths) -> str:
    value, value_text, refusals = _value(rule, paths)
    dims = _dims(rule.group_by, paths)
    if rule.group_by:
        kinds = " OR ".join(f"{paths.kind(name)} IN ('OBJECT', 'ARRAY')" for name in rule.group_by)
        refusals += [f"CASE WHEN {kinds} THEN 'wrong_type' END"]
        refusals += [f"CASE WHEN strlen({dims}) > $max_dims_bytes THEN 'dimension_too_long' END"]
    return f"""SELECT
    {", ".join(_SERIES)}, voids IS NOT NULL AS is_void,
    {quoted(rule.meter)} AS meter, {quoted(rule.aggregation)} AS aggregation, {dims} AS dims,
    {value_text} AS value_text, {value} AS value,
    coalesce({", ".join([*refusals, "NULL"])})::VARCHAR AS refusal
FROM looked_up
WHERE {" AND ".join(_conditions(rule, paths))}"""


def _conditions(rule: MeterRule, paths: Paths) -> list[str]:
    """SQL conditions on the events that a meter takes."""
    conditions = [f"step IN ({', '.join(map(str, rule.steps))})", f"event_type IN ({_list(rule.event_types)})"]
    conditions.append(f"coalesce(only_meter = {quoted(rule.meter)}, true)")
    if rule.owner is not None:
        conditions.append(f"tenant_id = {quoted(rule.owner)}")
    elif rule.hidden:
        conditions.append(f"tenant_id NOT IN ({_list(rule.hidden)})")
    if rule.filter is not None:
        conditions.append(condition(rule.filter, paths))
    if rule.skip and rule.aggregation != "count" and rule.value != "quantity":
        conditions.append(f"{paths.kind(rule.value)} IS NOT NULL")
    return conditions


def _value(rule: MeterRule, paths: Paths) -> tuple[str, str, list[str]]:
    """SQL of the number, of the text of a `unique` meter, and of reasons to refuse the event, in order."""
    unit, no_text = "1::DECIMAL(38, 9)", "NULL::VARCHAR"
    if rule.aggregation == "count":
        return unit, no_text, []
    if rule.value == "quantity":
        value, written, refusals = "quantity", "quantity_text", []
        text = paths.computed(f"group_text(quantity_kind, quantity_text, {paths.parts(written)})")
    else:
        kind, text, written = paths.kind(rule.value), paths.group_text(rule.value), paths.text(rule.value)
        missing = f"CASE WHEN {kind} IS NULL THEN 'missing_value' END"
        if rule.aggregation == "unique":
            return unit, text, [missing, f"CASE WHEN {kind} IN ('OBJECT', 'ARRAY') THEN 'wrong_type' END"]
        parts = paths.parts(written)
        refusals = [missing, paths.computed(f"number_refusal({kind}, {written}, {parts})")]
        number = paths.computed(f"number_value({written}, {parts})")
        value = f"CASE WHEN coalesce({', '.join(refusals)}) IS NULL THEN {number} END"
    if rule.aggregation == "unique":
        return unit, text, []
    if rule.exact:
        refusals.append(paths.computed(f"precision_refusal({paths.parts(written)})"))
    if rule.aggregation not in _ANY_SIGN and not rule.allow_negative:
        refusals.append(f"CASE WHEN {value} < 0 THEN 'negative_quantity' END")
    if rule.aggregation == "weighted_sum":
        refusals.append(f"CASE WHEN abs({value}) >= 1000000000000 THEN 'quantity_out_of_range' END")
    return value, no_text, refusals


def _dims(group_by: Sequence[str], paths: Paths) -> str:
    """Canonical JSON of the group-by values: keys in order, a missing or null value is the empty string."""
    if not group_by:
        return "''"
    pairs = [
        f"json_text({quoted(name)}) || ':' || json_text(coalesce({paths.group_text(name)}, ''))"
        for name in sorted(group_by)
    ]
    return "'{' || " + " || ',' || ".join(pairs) + " || '}'"


def condition(document: Mapping[str, Any], paths: Paths) -> str:
    """A filter document as an SQL expression that is true or false, never NULL.

    Raises
    ------
    UsageError
        It has something that the oracle does not know.

    """
    for name, (joined, empty) in _JOINED.items():
        if name in document:
            return "(" + (joined.join(condition(part, paths) for part in document[name]) or empty) + ")"
    operators = [(name, operand) for name, operand in document.items() if name != "property"]
    if "property" not in document or len(operators) != 1:
        raise UsageError(f"the oracle does not know the filter {dict(document)}.", "extend tidemark/oracle.")
    return _compared(document["property"], *operators[0], paths)


def _compared(path: str, operator: str, operand: Any, paths: Paths) -> str:
    if operator == "exists":
        return f"({paths.kind(path)} IS {'NOT ' if operand else ''}NULL)"
    if operator in _ORDER:
        return f"coalesce({paths.number(path)} {_ORDER[operator]} {_key(operand)}, false)"
    if operator == "in":
        return "(" + (" OR ".join(_equal(path, item, paths) for item in operand) or "false") + ")"
    if operator not in {"eq", "ne"}:
        raise UsageError(f"the oracle does not know the operator {operator}.", "extend tidemark/oracle.")
    equal = _equal(path, operand, paths)
    return equal if operator == "eq" else f"(NOT {equal})"


def _equal(path: str, operand: Any, paths: Paths) -> str:
    """Equal as numbers if the operand or the value is a number, else as text."""
    if isinstance(operand, bool):
        return f"coalesce({paths.scalar(path)} = '{str(operand).lower()}', false)"
    if isinstance(operand, str):
        number = f"{paths.number(path)} = {_key(operand)}"
        text = f"{paths.scalar(path)} = {quoted(operand)}"
        return f"coalesce(CASE WHEN {paths.is_number(path)} THEN {number} ELSE {text} END, false)"
    return f"coalesce({paths.number(path)} = {_key(operand)}, false)"


def _key(operand: Any) -> str:
    """SQL of the key of a constant."""
    text = quoted(str(operand))
    return f"number_key({text}, number_parts({text}))"


def _list(texts: Iterable[str]) -> str:
    return ", ".join(map(quoted, texts))
