"""Hostile records: a corpus of what once broke a reader, any bytes, and good records with something replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

import schemas

CORPUS = Path(__file__).parent / "corpus" / "records.txt"
EXAMPLES = Path(schemas.__file__).parent / "topics" / "examples"

# What no field expects: separators of packed columns, what is no text, numbers beyond every column.
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**63, 2**64, 10**400, 1e308, -0.0, "", "\0", "\x1f", "\x1e", "a\x1fb", "\u202e",
    "\ud800", "é" * 900,
    "NaN", "1e999", "9" * 5_000, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-01-01", [], {}, [[]], {"": {}},
)  # fmt: skip


def corpus() -> list[bytes]:
    """Records as Python literals, a line each."""
    return [
        line.encode().decode("unicode_escape").encode("latin-1") for line in CORPUS.read_text().splitlines() if line
    ]


def good(topic: str) -> list[dict[str, Any]]:
    """The valid examples of a topic."""
    files = sorted((EXAMPLES / topic).glob("*.json"))
    documents = [json.loads(file.read_text()) for file in files]
    return [one["value"] for one in documents if one["valid"] and isinstance(one["value"], dict)]


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values of a document, itself among them."""
    yield path
    inner = document.items() if isinstance(document, Mapping) else ()
    for name, value in (*inner, *(enumerate(document) if isinstance(document, list) else ())):
        yield from places(value, (*path, name))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of a document with another value at a path; `...` leaves it out."""
    if not path:
        return value
    head, *rest = path
    copy = dict(document) if isinstance(document, Mapping) else list(document)
    if value is ... and not rest:
        del copy[head]
    else:
        copy[head] = replaced(copy[head], tuple(rest), value)
    return copy


def spoiled(documents: list[dict[str, Any]]) -> st.SearchStrategy[bytes]:
    """A valid document with one to three of its values replaced or left out, some of it cut off."""
    values = st.sampled_from((..., *ODD)) | st.text(max_size=8) | st.integers(-(2**70), 2**70) | st.floats()

    @st.composite
    def made(draw: st.DrawFn) -> bytes:
        document: Any = draw(st.sampled_from(documents))
        for _ in range(draw(st.integers(1, 3))):
            document = replaced(document, draw(st.sampled_from([*places(document)][1:] or [()])), draw(values))
            if not document or document is ...:
                break
        raw = json.dumps(None if document is ... else document, ensure_ascii=draw(st.booleans()))
        encoded = raw.encode("utf-8", "surrogatepass")
        return encoded[: draw(st.integers(0, len(encoded)))] if draw(st.integers(0, 9)) == 0 else encoded

    return made()


def hostile(topic: str) -> st.SearchStrategy[bytes]:
    """Any of it, for a topic."""
    return hostile_of(good(topic))


def hostile_of(documents: list[dict[str, Any]]) -> st.SearchStrategy[bytes]:
    """Any of it, made of some valid documents."""
    return spoiled(documents) | st.sampled_from(corpus()) | st.binary(max_size=64)
