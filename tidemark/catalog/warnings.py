"""Warnings of a plan: what is allowed, and probably a mistake."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from tidemark.catalog.file import Key
from tidemark.catalog.timeline import Change, Stored


def warnings(changes: Sequence[Change], stored: Stored) -> Iterator[str]:
    """Each is one sentence that starts with the path it is about."""
    yield from _alike_customers(changes, stored)


def _alike_customers(changes: Sequence[Change], stored: Stored) -> Iterator[str]:
    """Ids are compared code point by code point: two that look the same are two customers."""
    added = [item for item in changes if item.table == "customer" and item.kind == "added"]
    if not added:
        return
    known: dict[Key, set[str | None]] = {}
    for tenant, customer in (*stored["customer"], *(item.key for item in added)):
        known.setdefault((tenant, _composed(customer)), set()).add(customer)
    for item in added:
        tenant, customer = item.key
        for other in sorted(str(name) for name in known[tenant, _composed(customer)] - {customer}):
            yield (
                f"{item.path}: {customer} ({_points(customer)}) and {other} ({_points(other)}) differ only by Unicode "
                "normalisation; they are two customers."
            )


def _composed(text: str | None) -> str:
    return unicodedata.normalize("NFC", text or "")


def _points(text: str | None) -> str:
    """The code points beyond ASCII, by which people can distinguish them."""
    return " ".join(f"U+{ord(item):04X}" for item in text or "" if not item.isascii())
