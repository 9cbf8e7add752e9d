"""What an apply needs confirmation for: cut periods, closed entries, changed defaults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tidemark.catalog.cuts import Cut
from tidemark.catalog.instants import shown
from tidemark.catalog.timeline import Change

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Confirmation:
    """One thing to confirm: what it is about, which is the same a minute later, and the sentence."""

    subject: str
    text: str


def confirmations(changes: Sequence[Change], cut: Sequence[Cut], *, prune: bool) -> Iterator[Confirmation]:
    """Cuts of running periods first."""
    for item in cut:
        yield Confirmation(f"cut {item.tenant} {len(item.customers)} {item.customers[:1]} {item.others}", item.text)
    for change in changes:
        if change.table == "tenant" and change.kind == "changed" and change.old and change.new:
            old, new = change.old[0] or "the calendar month in UTC", change.new[0] or "the calendar month in UTC"
            if old != new:
                yield Confirmation(
                    f"default {change.key[0]} {new}",
                    f"tenant {change.key[0]}: its default calendar becomes {new} instead of {old} from "
                    f"{shown(change.valid_from_ms)} on",
                )
    closed = [change for change in changes if change.kind == "closed"]
    if prune and closed:
        text = f"--prune closes {len(closed):,} entries: {'; '.join(_closed(closed))}"
        yield Confirmation(f"prune {len(closed)}", text)


def _closed(changes: Sequence[Change]) -> Iterator[str]:
    by_table: dict[str, list[Change]] = {}
    for change in changes:
        by_table.setdefault(change.table, []).append(change)
    for table, result in by_table.items():
        few = ", ".join("/".join(part or "*" for part in item.key) for item in result[:_SHOWN])
        yield f"{len(result):,} of {table} ({few}{', …' if len(result) > _SHOWN else ''})"
