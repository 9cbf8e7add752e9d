"""Forms of an answer: JSON unless a client asks for CSV or Arrow, by a parameter or by `Accept`. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from tidemark.core.csv_text import csv_of

JSON = "json"
MEDIA_TYPES = {JSON: "application/json", "csv": "text/csv", "arrow": "application/vnd.apache.arrow.stream"}
_FORMS = {media_type: form for form, media_type in MEDIA_TYPES.items()}


class Body(NamedTuple):
    """The body of an answer, and what it is."""

    content: bytes
    media_type: str


def chosen(accept: str, asked: str | None, known: Collection[str]) -> str:
    """The form that is asked for, else the first known one that the header Accept likes best, else JSON."""
    if asked:
        return asked
    liked = sorted((-_weight(part), place, part) for place, part in enumerate(accept.split(",")))
    forms = (_FORMS.get(part.partition(";")[0].strip().lower()) for weight, _, part in liked if weight)
    return next((form for form in forms if form is not None and form in {JSON, *known}), JSON)


def as_csv(rows: Sequence[Mapping[str, Any]]) -> Body:
    """Rows as CSV."""
    return Body(csv_of(rows).encode(), f"{MEDIA_TYPES['csv']}; charset=utf-8")


def _weight(part: str) -> float:
    """The q of a part of Accept; what cannot be read counts as 1."""
    for parameter in part.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 1.0
    return 1.0
