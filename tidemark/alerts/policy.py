"""The alert policy at work: which rule suppresses an alert, and which receivers it is routed to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, cast

from udfs.alerts.event import Alert, Severity
from udfs.meters.meter import BEGINNING_MS
from udfs.values import epoch_ms, parse_rfc3339, rfc3339

ReceiverKind = Literal["pagerduty", "alertmanager", "slack", "webhook"]

# What a person can still look into in a day; a receiver states another figure in its entry.
DAILY_BUDGET = 20


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is notified; `daily_budget` notifications a UTC day, the rest of the day in one digest."""

    name: str
    kind: ReceiverKind
    daily_budget: int = DAILY_BUDGET


@dataclass(frozen=True, slots=True)
class Matcher:
    """Which alerts are meant: by every list that is not empty; `types` are globs (`limit.*`)."""

    types: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    customers: tuple[str, ...] = ()
    meters: tuple[str, ...] = ()

    def matches(self, alert: Alert, severity: Severity) -> bool:
        """Whether an alert of this severity (after impact) is meant."""
        criteria = (
            (severity, self.severities),
            (alert.tenant_id, self.tenants),
            (alert.customer_id, self.customers),
            (alert.meter, self.meters),
        )
        by_type = not self.types or any(fnmatchcase(alert.type, pattern) for pattern in self.types)
        return by_type and all(not allowed or value in allowed for value, allowed in criteria)


@dataclass(frozen=True, slots=True)
class SuppressionRule:
    """A maintenance window or suppression; `label` names rule and version, the window is half-open alert time."""

    label: str
    matcher: Matcher
    window_ms: tuple[int, int] | None = None

    def suppresses(self, alert: Alert, severity: Severity) -> bool:
        """Whether an alert is suppressed."""
        inside = self.window_ms is None or self.window_ms[0] <= alert.at_ms < self.window_ms[1]
        return inside and self.matcher.matches(alert, severity)


@dataclass(frozen=True, slots=True)
class Route:
    """Which alerts go to which receivers."""

    matcher: Matcher
    receivers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy at one instant.

    Parameters
    ----------
    receivers:
        By name.
    routes:
        All that match give their receivers.
    suppression_rules:
        Maintenance windows first, then suppressions, each by name: the first that matches is the one that is recorded.
    """

    receivers: Mapping[str, Receiver]
    routes: tuple[Route, ...] = ()
    suppression_rules: tuple[SuppressionRule, ...] = ()

    def suppressed_by(self, alert: Alert, severity: Severity) -> str | None:
        """Name and version of the rule that suppresses an alert; None where no rule does."""
        return next((rule.label for rule in self.suppression_rules if rule.suppresses(alert, severity)), None)

    def receivers_of(self, alert: Alert, severity: Severity) -> list[Receiver]:
        """Receivers of an alert, each once, by name; empty: it is stored and nobody is notified."""
        names = {
            name for route in self.routes if route.matcher.matches(alert, severity) for name in route.receivers
        }  # fmt: skip
        return [self.receivers[name] for name in sorted(names) if name in self.receivers]


def policy_of(rows: Iterable[tuple[str, str, Mapping[str, Any], int]]) -> Policy:
    """The policy of rows of `catalog.alert_policy`: kind, name, body, and the start of the version in epoch ms.

    Raises
    ------
    KeyError, ValueError
        A body lacks what its kind must have; the catalog lets none in.
    """
    entries: dict[str, list[tuple[str, Mapping[str, Any], int]]] = {}
    for kind, name, body, version_ms in sorted(rows, key=lambda row: (row[0], row[1])):
        entries.setdefault(kind, []).append((name, body, version_ms))
    return Policy(
        receivers={name: _receiver(name, body) for name, body, _ in entries.get("receiver", [])},
        routes=tuple(Route(_matcher(body), tuple(body["receivers"])) for _, body, _ in entries.get("route", [])),
        suppression_rules=tuple(
            SuppressionRule(
                f"{kind} {name}@{_version(version_ms)}",
                _matcher(body),
                _window(body) if kind == "maintenance" else None,
            )
            for kind in ("maintenance", "suppression")
            for name, body, version_ms in entries.get(kind, [])
        ),
    )


def _version(begin_ms: int) -> str:
    return "beginning" if begin_ms == BEGINNING_MS else rfc3339(begin_ms)


def _receiver(name: str, body: Mapping[str, Any]) -> Receiver:
    budget = body.get("daily_budget")
    return Receiver(name, cast("ReceiverKind", body["kind"]), DAILY_BUDGET if budget is None else int(budget))


def _matcher(body: Mapping[str, Any]) -> Matcher:
    return Matcher(*(tuple(body.get(name) or ()) for name in Matcher.__slots__))


def _window(body: Mapping[str, Any]) -> tuple[int, int]:
    return epoch_ms(parse_rfc3339(body["from"])), epoch_ms(parse_rfc3339(body["until"]))
