"""What `tidemark dlq` prints: dead letters, one of them whole, the plan of a redrive; as tables and as JSON values."""

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
from tidemark.dead_letters.plan import Fate, Item, Plan
from tidemark.dead_letters.records import Letter, Survey, count_by_reason, preview
from tidemark.dead_letters.tool import Status
from udfs.events.reasons import shown
from udfs.values import rfc3339

EXAMPLES = 3
REFUSED_SHOWN = 10


def drawn_letters(found: Survey) -> Group:
    """Dead letters as a table, and one of the counts by reason."""
    table = Table("at", "source", "arrival", "tenant", "customer", "reason", "meter", "detail", "original")
    for letter in found.letters:
        whose = (letter["tenant_id"] or "", letter["customer_id"] or "")
        what = (letter["reason"], _meter(letter), with_durations(letter["detail"]), preview(letter))
        table.add_row(letter["at"], _source(letter), str(letter["arrival"]), *whose, *what)
    partial = f"{found.partial:,} partial: other meters counted the event"
    return Group(table, _counted("reason", found.by_reason), *([one_line(partial)] if found.partial else []))


def status_document(status: Status) -> dict[str, Any]:
    """One dead letter and its redrives as JSON values."""
    return {
        **status.letter,
        "text": preview(status.letter, None),
        "redriven": None
        if status.standing is None
        else {"at": str(status.standing), "header": msgspec.to_builtins(status.mark)},
        "rejected_again_at": [str(position) for position in status.failures],
        "redrive": None if status.item is None else _item_document(status.item),
        "unknown": status.unknown,
    }


def drawn_status(status: Status, settings: Settings) -> Group:
    """One dead letter whole, and its redrives."""
    letter = status.letter
    table = Table(show_header=False)
    rows = {
        "at": f"{settings.names.dlq} {letter['at']}",
        "source": _source(letter),
        **{name: letter[name] for name in ("arrival", "reason")},
        "detail": with_durations(letter["detail"]),
        "meter": _meter(letter) or None,
        **{name: letter[name] for name in ("tenant_id", "customer_id", "event_id")},
        "redriven": _redriven(status, settings.topics.redrive),
        "rejected again": ", ".join(map(str, status.failures)) or "no",
        "redrive": _possible(status),
    }
    for name, value in rows.items():
        table.add_row(name, "-" if value is None else str(value))
    return Group(table, one_line(preview(letter, None)))


def _redriven(status: Status, topic: str) -> str:
    if status.standing is None:
        return "no"
    when = f" at {status.mark.redriven_at}" if status.mark else ""
    return f"yes{when}, to {topic} {status.standing}"


def _possible(status: Status) -> str:
    item = status.item
    if item is None:
        return f"not known: {status.unknown}"
    match item.fate:
        case Fate.SEND:
            return f"possible as it is, until {rfc3339(item.deadline_ms)}"
        case Fate.REFUSED:
            return f"refused as it is: {item.code}: {item.detail}"
        case _:
            return f"nothing to do: {item.detail}"


def plan_document(plan: Plan) -> dict[str, Any]:
    """A plan as JSON values; refused ones are listed all."""
    return {
        "selected": len(plan.items),
        "by_reason": count_by_reason(item.letter for item in plan.items),
        "fates": {str(fate): plan.count(fate) for fate in Fate},
        "counted_by": _meters(plan),
        "examples": [_item_document(item) for item in _examples(plan)],
        "refused_by": plan.refused_by(),
        "refused": [_item_document(item) for item in plan.items if item.fate is Fate.REFUSED],
        "warnings": plan.warnings(),
    }


def drawn_plan(plan: Plan) -> Group:
    """A plan: counts, what the fixes do to the first few, what is refused and why."""
    fates = _counted("what becomes of them", {str(fate): plan.count(fate) for fate in Fate if plan.count(fate)})
    parts: list[Any] = [_counted("reason", count_by_reason(item.letter for item in plan.items)), fates]
    if plan.sends:
        parts.append(_counted("meter that will count them", _meters(plan)))
    parts += [one_line(f"{item.letter['at']}  {_edits(item.edits)}") for item in _examples(plan)]
    refused = [item for item in plan.items if item.fate is Fate.REFUSED]
    if refused:
        parts.append(_counted("refused because", plan.refused_by()))
        parts += [
            one_line(f"{item.letter['at']}  {item.code}: {shown(item.detail)}") for item in refused[:REFUSED_SHOWN]
        ]
    return Group(*parts, *(one_line(f"warning: {text}") for text in plan.warnings()))


def _examples(plan: Plan) -> list[Item]:
    """The first that are sent, and what was tried to mend those that are not."""
    return [item for item in plan.items if item.value and (item.fate is Fate.SEND or item.edits)][:EXAMPLES]


def _edits(edits: Iterable[Edit]) -> str:
    texts = [
        f"{shown(edit.path)}: {'missing' if edit.before is None else shown(edit.before)} -> "
        f"{'removed' if edit.after is None else shown(edit.after)}"
        for edit in edits
    ]
    return "; ".join(texts) or "sent as it was"


def _item_document(item: Item) -> dict[str, Any]:
    return {
        "at": item.letter["at"],
        "reason": item.letter["reason"],
        "meter": item.letter.get("meter"),
        "partial": item.envelope is not None,
        "fate": str(item.fate),
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


def _meter(letter: Letter) -> str:
    """The meter that refused the event, and whether it alone is missing it."""
    return f"{letter['meter']} (partial)" if letter.get("partial") else letter.get("meter") or ""


def _source(letter: Letter) -> str:
    return f"{letter['topic']} {letter['partition']}:{letter['offset']}"
