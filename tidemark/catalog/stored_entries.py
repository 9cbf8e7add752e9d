"""Stored versions as entries of a catalog file: each has what is not the default."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from tidemark.catalog.entries import DAILY_BUDGET, MATCHERS, UNKNOWN, UNROUNDED
from tidemark.catalog.file import TABLES, Key

# Defaults of a meter; keys that are not here have none.
METER_DEFAULTS: Mapping[str, Any] = {
    "value": "quantity",
    "group_by": (),
    "allow_negative": False,
    "filter": "",
    "on_missing": "reject",
    "per": "hour",
    "precision": "rounded",
}


def entry(table: str, key: Key, values: tuple[Any, ...]) -> dict[str, Any]:
    """The entry of a file that describes a version.

    Parameters
    ----------
    table, key, values:
        As in `tidemark.catalog.file.Row`.
    """
    return _ENTRIES[table](key, dict(zip(TABLES[table][1], values, strict=True)))


def _calendar(_: Key, row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _listed(value) for name, value in row.items() if value}


def _tenant(_: Key, row: Mapping[str, Any]) -> dict[str, Any]:
    named = {"calendar": row["calendar_id"], "sources": _listed(row.get("sources"))}
    return {name: value for name, value in named.items() if value is not None}


def _customer(key: Key, row: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: row[name] for name in ("plan", "revenue_weight") if row[name] is not None}
    return _tenant(key, row) | named


def _meter(_: Key, row: Mapping[str, Any]) -> dict[str, Any]:
    # What its aggregation does not read, whatever its row holds.
    aggregation = row["aggregation"]
    unread = {"value"} if aggregation == "count" else set()
    unread |= {"precision"} if aggregation in UNROUNDED else set()
    unread |= {"per"} if aggregation != "weighted_sum" else set()
    result = {
        name: _listed(value)
        for name, value in row.items()
        if name not in unread and (name not in METER_DEFAULTS or value != METER_DEFAULTS[name])
    }
    if "filter" in result:
        result["filter"] = json.loads(result["filter"], parse_float=Decimal, parse_int=_integer)
    return result


def _limit(_: Key, row: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"cap": row["cap"]}
    if row["mode"] != "soft":
        result["mode"] = row["mode"]
    if row["thresholds"] != ("80%",):
        result["thresholds"] = [_threshold(item) for item in row["thresholds"]]
    if row["on_unknown"] != UNKNOWN[row["mode"]]:
        result["when_unknown"] = row["on_unknown"]
    return result


def _policy(key: Key, row: Mapping[str, Any]) -> dict[str, Any]:
    kind, body = str(key[0]), json.loads(row["body"])
    empty: dict[str, Any] = {name: [] for name in MATCHERS[kind]} | {"secret_file": None}
    if kind == "receiver":
        empty["daily_budget"] = DAILY_BUDGET
    return {name: value for name, value in body.items() if name not in empty or value != empty[name]}


def _threshold(text: str) -> Any:
    return {"every": text.removeprefix("every ")} if text.startswith("every ") else text


def _integer(text: str) -> int:
    return int(text)


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


_ENTRIES: Mapping[str, Callable[[Key, Mapping[str, Any]], dict[str, Any]]] = {
    "calendar": _calendar,
    "tenant": _tenant,
    "customer": _customer,
    "meter": _meter,
    "usage_limit": _limit,
    "alert_policy": _policy,
}
