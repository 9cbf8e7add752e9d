"""Loads catalogs, as plain data with the times they are valid for, into tables of the oracle."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

import duckdb

from tidemark.core.errors import UsageError
from tidemark.oracle.meters import MeterRule, rule_of
from tidemark.oracle.zones import stretches

CatalogData = Mapping[str, Any]
# One catalog, from its `valid_from` on or for all time; or steps in order, each
# {"valid_from": RFC 3339 or "beginning", "catalog": {...}}.
History = CatalogData | Sequence[Mapping[str, Any]]

_TABLES = """
CREATE TABLE steps     (step INTEGER, from_ms BIGINT, to_ms BIGINT);
CREATE TABLE calendars (step INTEGER, calendar_id VARCHAR, definition VARCHAR, anchor TIMESTAMP, interval VARCHAR,
                        timezone VARCHAR, listed TIMESTAMP[]);
CREATE TABLE offsets   (timezone VARCHAR, from_at TIMESTAMP, local_from TIMESTAMP, seconds BIGINT);
CREATE TABLE tenants   (step INTEGER, tenant_id VARCHAR, calendar_id VARCHAR, sources VARCHAR[]);
CREATE TABLE customers (step INTEGER, tenant_id VARCHAR, customer_id VARCHAR, calendar_id VARCHAR, plan VARCHAR);
CREATE TABLE limits    (step INTEGER, tenant_id VARCHAR, scope VARCHAR, scope_id VARCHAR, meter VARCHAR,
                        cap DECIMAL(38, 9), mode VARCHAR,
                        thresholds STRUCT(threshold VARCHAR, recurring BOOLEAN, amount DECIMAL(38, 9))[]);
CREATE TABLE meters    (step INTEGER, tenant_id VARCHAR, meter VARCHAR, event_types VARCHAR[], per VARCHAR);
"""
# Before and after every instant an event can have.
_BEGINNING_MS, _FOREVER_MS = -9_000_000_000_000_000, 9_000_000_000_000_000
_MINUTE_MS = 60_000
_PARTS = {"calendars", "tenants", "meters", "valid_from"}
_TENANT_KEYS = {"calendar", "sources", "customers", "meters", "limits", "plans"}
_CUSTOMER_KEYS = {"calendar", "plan", "limits", "revenue_weight"}
_LIMIT_KEYS = {"cap", "mode", "thresholds", "when_unknown"}
_CALENDAR_KEYS = {"anchor", "interval", "boundaries", "timezone"}
_YEARS_AND_MONTHS = re.compile(r"P(\d+)Y(\d+)M")

_Rows = dict[str, list[tuple[Any, ...]]]


def load_history(db: duckdb.DuckDBPyConnection, history: History) -> list[MeterRule]:
    """Fill the tables of the catalog and of its time zones; what each meter does at each step of the history.

    Raises
    ------
    UsageError
        The catalog has something that the oracle does not know, or a time zone that tzdata does not have; steps do not
        ascend by whole minutes.

    """
    steps = _steps_of(history)
    if steps and steps[0][0] != _BEGINNING_MS:
        # Before it there was no tenant: a calendar that begins then cuts the month in UTC.
        steps = [(_BEGINNING_MS, {}), *steps]
    starts = [start for start, _ in steps]
    if starts != sorted(set(starts)):
        raise UsageError("the steps of a catalog's history must ascend.", "order them by valid_from.")
    rows: _Rows = {name: [] for name in ("calendars", "tenants", "customers", "meters", "limits")}
    rules: list[MeterRule] = []
    for step, (_, catalog) in enumerate(steps):
        rules += _read(step, catalog, rows)
    rows["steps"] = [(i, *bounds) for i, bounds in enumerate(zip(starts, [*starts[1:], _FOREVER_MS], strict=True))]
    db.execute(_TABLES)
    for table, entries in rows.items():
        _insert(db, table, entries)
    for timezone in {row[5] for row in rows["calendars"]}:
        columns = map(list, zip(*stretches(timezone), strict=True))
        db.execute("INSERT INTO offsets SELECT ?, unnest(?), unnest(?), unnest(?)", [timezone, *columns])
    return rules


def _steps_of(history: History) -> list[tuple[int, CatalogData]]:
    if isinstance(history, Mapping):
        return [(_start_ms(history.get("valid_from", "beginning")), history)]
    for step in history:
        if step["catalog"].get("valid_from", step["valid_from"]) != step["valid_from"]:
            raise UsageError("a catalog begins at another instant than its step.", "leave out one valid_from.")
    return [(_start_ms(step["valid_from"]), step["catalog"]) for step in history]


def _start_ms(valid_from: Any) -> int:
    """Epoch ms of an instant as text, or as YAML reads it."""
    if valid_from == "beginning":
        return _BEGINNING_MS
    instant = datetime.fromisoformat(str(valid_from))
    if instant.tzinfo is None or instant.second or instant.microsecond:
        raise UsageError(f"valid_from {valid_from} is not a whole minute with a zone.", "write 2026-03-01T00:00:00Z.")
    return int(instant.timestamp()) * 1_000


def _read(step: int, catalog: CatalogData, rows: _Rows) -> Iterator[MeterRule]:
    """Rows of one catalog, and its meters."""
    _known("a catalog", catalog, _PARTS)
    # '' is the calendar of tenants and customers that name no calendar.
    calendars = {"": {"interval": "P1M", "timezone": "UTC"}} | dict(catalog.get("calendars") or {})
    rows["calendars"] += [(step, name, *_calendar(calendar)) for name, calendar in calendars.items()]
    tenants = {name: tenant or {} for name, tenant in (catalog.get("tenants") or {}).items()}
    for name, tenant in tenants.items():
        _known(f"tenant {name}", tenant, _TENANT_KEYS)
        rows["tenants"].append((step, name, tenant.get("calendar"), tenant.get("sources")))
        for customer, entry in (tenant.get("customers") or {}).items():
            known = entry or {}
            _known(f"customer {customer}", known, _CUSTOMER_KEYS)
            rows["customers"].append((step, name, customer, known.get("calendar"), known.get("plan")))
        rows["limits"] += [(step, name, *limit) for limit in _limits(tenant)]
    owners = [(None, catalog.get("meters")), *((name, tenant.get("meters")) for name, tenant in tenants.items())]
    for owner, meters in owners:
        for meter, entry in (meters or {}).items():
            hidden = () if owner else tuple(name for name, t in tenants.items() if meter in (t.get("meters") or {}))
            rule = rule_of(step, owner, hidden, meter, entry)
            rows["meters"].append((step, owner, meter, list(rule.event_types), rule.per))
            yield rule


def _limits(tenant: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Scope, its id, meter, cap, mode and thresholds of every limit of a tenant."""
    groups = [("tenant", "", tenant)]
    groups += [("plan", plan, entry or {}) for plan, entry in (tenant.get("plans") or {}).items()]
    groups += [("customer", customer, entry or {}) for customer, entry in (tenant.get("customers") or {}).items()]
    for scope, scope_id, owner in groups:
        for meter, limit in (owner.get("limits") or {}).items():
            _known("a limit", limit, _LIMIT_KEYS)
            cap = str(limit["cap"])
            stated = [_threshold(threshold, Fraction(cap)) for threshold in limit.get("thresholds", ["80%"])]
            yield scope, scope_id, meter, cap, limit.get("mode", "soft"), [one for one in stated if one["amount"]]


def _threshold(stated: Any, cap: Fraction) -> dict[str, Any]:
    """Text of a threshold, whether it recurs, and its amount: None where it is nothing, or above every total."""
    recurring = isinstance(stated, Mapping)
    text = str(stated["every"] if recurring else stated)
    number = Fraction(text.removesuffix("%"))
    # Half-even to nine decimals.
    billionths = round((number * cap / 100 if text.endswith("%") else number) * 10**9)
    amount = f"{billionths // 10**9}.{billionths % 10**9:09}" if 0 < billionths < 10**38 else None
    return {"threshold": f"every {text}" if recurring else text, "recurring": recurring, "amount": amount}


def _calendar(calendar: Mapping[str, Any]) -> tuple[str, Any, Any, str, Any]:
    """The definition as one text (the same for equal calendars, whatever their names), and its fields."""
    _known("a calendar", calendar, _CALENDAR_KEYS)
    listed = [_local(text) for text in calendar["boundaries"]] if calendar.get("boundaries") else None
    interval = None if listed else _interval(calendar["interval"])
    anchor = None if interval is None else _local(calendar.get("anchor") or _aligned(interval))
    fields = (anchor, interval, calendar["timezone"], listed)
    return json.dumps(fields), *fields


def _interval(text: str) -> str:
    """An interval of one unit: years with months are months."""
    parts = _YEARS_AND_MONTHS.fullmatch(text)
    return f"P{int(parts[1]) * 12 + int(parts[2])}M" if parts else text


def _aligned(interval: str) -> str:
    """The anchor of a calendar that states none: the begin of the year 2000, of weeks its first Monday."""
    return "2000-01-03" if interval.endswith("W") else "2000-01-01"


def _local(text: Any) -> str:
    """A local date or time in canonical form; YAML may have parsed it into a date."""
    return datetime.fromisoformat(str(text)).isoformat()


def _known(what: str, entry: Mapping[str, Any], keys: set[str]) -> None:
    unknown = set(entry) - keys
    if unknown:
        raise UsageError(f"the oracle does not know {', '.join(sorted(unknown))} of {what}.", "extend tidemark/oracle.")


def _insert(db: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
