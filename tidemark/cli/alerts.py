"""`tidemark alerts`: print them, acknowledge them, and see which rules are noise."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from fnmatch import fnmatchcase
from heapq import nlargest
from typing import Annotated, Any

import typer

from tidemark.alerts.acknowledgement import Acknowledged, Outcome, RuleStats, acknowledge, stats
from tidemark.alerts.topic import AlertTopic, read
from tidemark.cli.by import By
from tidemark.cli.known import known
from tidemark.cli.output import Json, Table, emit, put, safe_json, say
from tidemark.cli.run_id import RunId
from tidemark.cli.until_stopped import until_stopped
from tidemark.core.errors import UnavailableError, UsageError
from tidemark.core.kafka import STALL_S
from tidemark.core.settings import load
from tidemark.core.user import stated
from udfs.alerts.event import Alert, AlertError, to_json
from udfs.values import rfc3339

POLL_MS = 500


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Alerts: tail, acknowledgements, statistics.", no_args_is_help=True)
    group.command("tail")(tail)
    group.command("ack")(ack)
    group.command("stats")(stats_)
    app.add_typer(group, name="alerts")


def tail(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only types that match, for example 'limit.*'.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new alerts too, until Ctrl-C.")] = False,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="All of the topic, not the newest.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="How many of those that were sent before.")] = 20,
    run_id: RunId = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each alert as one CloudEvent a line.")] = False,
) -> None:
    """Print alerts of the topic, only committed ones: the newest, then new ones."""
    settings = load(run_id=run_id)
    if tenant is not None:
        known(settings, tenant)
    with AlertTopic(settings.kafka, settings.names.alerts, {}) as topic:
        there: Iterable[Alert] = (alert for alert in _there(topic) if _wanted(alert, tenant, type_))
        if not from_beginning:
            there = reversed(nlargest(limit, there, key=lambda alert: (alert.at_ms, alert.id)))
        for alert in there:
            _print(alert, as_json=as_json)
        stop = until_stopped() if follow else None
        while stop is not None and not stop.is_set():
            for alert in _polled(topic):
                if _wanted(alert, tenant, type_):
                    _print(alert, as_json=as_json)


def ack(
    name: Annotated[str, typer.Argument(metavar="ID|FINGERPRINT", help="Id of an alert, or its fingerprint.")],
    acted: Annotated[bool, typer.Option("--acted", help="Something was done because of it.")] = False,
    ignored: Annotated[bool, typer.Option("--ignored", help="Nothing had to be done: it was noise.")] = False,
    by: By = "",
    note: Annotated[str | None, typer.Option(help="What was done, or why nothing.")] = None,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Acknowledge an alert, and record whether it led to an action: that is what `stats` counts."""
    if acted and ignored:
        raise UsageError("--acted and --ignored contradict each other.", "give one of them.")
    outcome: Outcome | None = "acted" if acted else "ignored" if ignored else None
    acknowledged = acknowledge(load(run_id=run_id), name, by=stated(by), outcome=outcome, note=note)
    emit([_document(alert) for alert in acknowledged], _answered(acknowledged), as_json=as_json)


def stats_(
    days: Annotated[int | None, typer.Option(min=1, help="Only alerts of the last days.")] = None,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Print per rule how many alerts fired, were suppressed, acknowledged, acted on and ignored."""
    rules = stats(load(run_id=run_id), days)
    emit([asdict(rule) for rule in rules], _drawn(rules), as_json=as_json)


def _there(topic: AlertTopic) -> Iterator[Alert]:
    """All alerts that can be read now, partition by partition."""
    ends, at = topic.ends(), topic.offsets()
    until = time.monotonic() + STALL_S
    while any(offset < ends[partition] for partition, offset in at.items()):
        yield from _polled(topic)
        before, at = at, topic.offsets()
        if at != before:
            until = time.monotonic() + STALL_S
        elif time.monotonic() > until:
            raise UnavailableError(
                f"reading alerts made no progress for {STALL_S:.0f} s.", "check the brokers: `tidemark status`."
            )


def _polled(topic: AlertTopic) -> Iterator[Alert]:
    for position, payload in topic.poll(POLL_MS):
        try:
            yield read(payload)
        except AlertError as error:
            say(f"skipped {position.partition}:{position.offset}: {error}")


def _wanted(alert: Alert, tenant: str | None, pattern: str | None) -> bool:
    return (tenant is None or alert.tenant_id == tenant) and (pattern is None or fnmatchcase(alert.type, pattern))


def _print(alert: Alert, *, as_json: bool) -> None:
    put(safe_json(to_json(alert)) if as_json else _line(alert))


def _line(alert: Alert) -> str:
    about = "/".join(filter(None, (alert.tenant_id, alert.customer_id, alert.meter)))
    words = (rfc3339(alert.at_ms), f"{alert.status:8}", f"{alert.severity:8}", alert.type, about, alert.summary)
    return "  ".join((*words, f"[{alert.id}]"))


def _document(alert: Acknowledged) -> dict[str, Any]:
    return {**asdict(alert), "at": rfc3339(alert.at), "acknowledged_at": rfc3339(alert.acknowledged_at)}


def _answered(acknowledged: list[Acknowledged]) -> list[str]:
    return [
        f"{alert.alert_id} {alert.type}: acknowledged by {alert.acknowledged_by}"
        + (f", {alert.outcome} by {alert.outcome_by}" if alert.outcome else "")
        for alert in acknowledged
    ]


def _drawn(rules: list[RuleStats]) -> Any:
    if not rules:
        return "no alerts"
    table = Table("type", "rule", "fired", "suppressed", "acked", "acted", "ignored", "ratio")
    for rule in rules:
        ratio = "" if rule.action_ratio is None else f"{rule.action_ratio:.1%}"
        figures = (rule.fired, rule.suppressed, rule.acknowledged, rule.acted, rule.ignored)
        table.add_row(rule.type, rule.rule, *(f"{figure:,}" for figure in figures), ratio)
    return table
