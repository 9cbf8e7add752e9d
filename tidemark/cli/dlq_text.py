"""What `tidemark dlq` prints: dead letters, one dead letter in full, the plan of a redrive; as tables and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from tidemark.cli.durations import with_durations
from tidemark.cli.output import Group, Table, one_line
from tidemark.core.settings import Settings
from tidemark.dead_letters.fixes import Edit
from tidemark.dead_letters.plan import Item, Outcome, Plan
from tidemark.dead_letters.records import DeadLetter, Survey, count_by_reason, preview
from tidemark.dead_letters.tool import Status
from udfs.events.reasons import shown
from udfs.values import rfc3339

EXAMPLES = 3
REFUSED_SHOWN = 10


def drawn_dead_letters(found: Survey) -> Group:
    """Dead letters as a table, and a table of the counts by reason."""
    table = Table("at", "source", "arrival", "tenant", "customer", "reason", "meter", "detail", "original")
    for dead_letter in found.dead_letters:
        ids = (dead_letter["tenant_id"] or "", dead_letter["customer_id"] or "")
        why = (dead_letter["reason"], _meter(dead_letter), with_durations(dead_letter["detail"]))
        row = (*ids, *why, preview(dead_letter))
        table.add_row(dead_letter["at"], _source(dead_letter), str(dead_letter["arrival"]), *row)
    partial = f"{found.partial:,} partial: other meters counted the event"
    return Group(table, _counted("reason", found.by_reason), *([one_line(partial)] if found.partial else []))


def status_document(status: Status) -> dict[str, Any]:
    """One dead letter and its redrives as JSON values."""
    return {
        **status.dead_letter,
        "text": preview(status.dead_letter, None),
        "redriven": None
        if status.already_redriven is None
        else {"at": str(status.already_redriven), "header": msgspec.to_builtins(status.marker)},
        "rejected_again_at": [str(position) for position in status.failures],
        "redrive": None if status.item is None else _item_document(status.item),
        "unknown": status.unknown,
    }


def drawn_status(status: Status, settings: Settings) -> Group:
    """One dead letter in full, and its redrives."""
    dead_letter = status.dead_letter
    table = Table(show_header=False)
    rows = {
        "at": f"{settings.names.dlq} {dead_letter['at']}",
        "source": _source(dead_letter),
        **{name: dead_letter[name] for name in ("arrival", "reason")},
        "detail": with_durations(dead_letter["detail"]),
        "meter": _meter(dead_letter) or None,
        **{name: dead_letter[name] for name in ("tenant_id", "customer_id", "event_id")},
        "redriven": _redriven(status, settings.topics.redrive),
        "rejected again": ", ".join(map(str, status.failures)) or "no",
        "redrive": _possible(status),
    }
    for name, value in rows.items():
        table.add_row(name, "-" if value is None else str(value))
    return Group(table, one_line(preview(dead_letter, None)))


def _redriven(status: Status, topic: str) -> str:
    if status.already_redriven is None:
        return "no"
    by = f" by {shown(status.marker.redriven_by)}" if status.marker and status.marker.redriven_by else ""
    when = f" at {status.marker.redriven_at}{by}" if status.marker else ""
    return f"yes{when}, to {topic} {status.already_redriven}"


def _possible(status: Status) -> str:
    item = status.item
    if item is None:
        return f"not known: {status.unknown}"
    match item.outcome:
        case Outcome.SEND:
            return f"possible as it is, until {rfc3339(item.deadline_ms)}"
        case Outcome.REFUSED:
            return f"refused as it is: {item.code}: {item.detail}"
        case _:
            return f"nothing to do: {item.detail}"


def plan_document(plan: Plan) -> dict[str, Any]:
    """A plan as JSON values; all refused records are listed."""
    return {
        "selected": len(plan.items),
        "by_reason": count_by_reason(item.dead_letter for item in plan.items),
        "outcomes": {str(outcome): plan.count(outcome) for outcome in Outcome},
        "counted_by": _meters(plan),
        "examples": [_item_document(item) for item in _examples(plan)],
        "refused_by": plan.refused_by(),
        "refused": [_item_document(item) for item in plan.items if item.outcome is Outcome.REFUSED],
        "warnings": plan.warnings(),
    }


def drawn_plan(plan: Plan) -> Group:
    """A plan: counts, what the fixes do to the first few records, what is refused and why."""
    counts = {str(outcome): plan.count(outcome) for outcome in Outcome if plan.count(outcome)}
    outcomes = _counted("outcome", counts)
    parts: list[Any] = [_counted("reason", count_by_reason(item.dead_letter for item in plan.items)), outcomes]
    if plan.sends:
        parts.append(_counted("meter that will count them", _meters(plan)))
    parts += [one_line(f"{item.dead_letter['at']}  {_edits(item.edits)}") for item in _examples(plan)]
    refused = [item for item in plan.items if item.outcome is Outcome.REFUSED]
    if refused:
        parts.append(_counted("refused because", plan.refused_by()))
        parts += [
            one_line(f"{item.dead_letter['at']}  {item.code}: {shown(item.detail)}") for item in refused[:REFUSED_SHOWN]
        ]
    return Group(*parts, *(one_line(f"warning: {text}") for text in plan.warnings()))


def _examples(plan: Plan) -> list[Item]:
    """The first records that are sent, or that the fixes changed without success."""
    return [item for item in plan.items if item.value and (item.outcome is Outcome.SEND or item.edits)][:EXAMPLES]


def _edits(edits: Iterable[Edit]) -> str:
    texts = [
        f"{shown(edit.path)}: {'missing' if edit.before is None else shown(edit.before)} -> "
        f"{'removed' if edit.after is None else shown(edit.after)}"
        for edit in edits
    ]
    return "; ".join(texts) or "sent as it was"


def _item_document(item: Item) -> dict[str, Any]:
    return {
        "at": item.dead_letter["at"],
        "reason": item.dead_letter["reason"],
        "meter": item.dead_letter.get("meter"),
        "partial": item.envelope is not None,
        "outcome": str(item.outcome),
        "code": item.code,
        "detail": item.detail,
        "edits": [asdict(edit) for edit in item.edits],
        "event": item.value.decode("utf-8", "backslashreplace") if item.value else None,
        "counted_by": list(item.meters),
        "until": rfc3339(item.deadline_ms) if item.deadline_ms else None,
    }


def _meters(plan: Plan) -> dict[str, int]:
    return dict(Counter(meter for item in plan.sends for meter in item.meters).most_common())


def _counted(title: str, counts: Mapping[str, int]) -> Table:
    table = Table(title, "records")
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    return table


def _meter(dead_letter: DeadLetter) -> str:
    """The meter that refused the event, and whether only this meter is missing it."""
    return f"{dead_letter['meter']} (partial)" if dead_letter.get("partial") else dead_letter.get("meter") or ""


def _source(dead_letter: DeadLetter) -> str:
    return f"{dead_letter['topic']} {dead_letter['partition']}:{dead_letter['offset']}"
