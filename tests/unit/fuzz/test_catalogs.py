"""Catalog files from outside: whatever a file holds, it is read, or it is refused in words and in bounded time."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from tests.unit.fuzz.records import ODD, places, replaced
from tidemark.catalog import file as catalog_file
from tidemark.catalog.check import check
from tidemark.core.errors import UsageError

EXAMPLE = (Path(schemas.__file__).parent / "catalog" / "example.yaml").read_text()
DOCUMENT: Any = yaml.safe_load(EXAMPLE)
PLACES = [*places(DOCUMENT)][1:]
# Aliases of aliases, a merge of a merge, deep flow, a text without end, tags that make objects.
# A reading takes 60 ms.
EXAMPLES = max(10, settings().max_examples // 4)
BOMB = (
    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
    "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\nmeters: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"
)
HOSTILE = (
    BOMB,
    "a: &a {<<: *a}", "meters: " + "[" * 5_000, "meters: {m: {filter: " + "{all: [" * 200 + "]}" * 200 + "}}",
    "? " * 3_000, "!!python/object/apply:os.system ['true']", "meters: !!binary x", "a: &a\n<<: [*a, *a]",
    "meters: {m: {event_types: 1e999999999}}", "meters: {m: {filter: {property: p, gt: 1e99999999}}}",
    "valid_from: 0001-01-01T00:00:00Z", "tenants: {? [a] : {}}",
    "calendars: {a: {calendar: b, type: c, unit: d}}", "\ufeff\ufeffmeters:", "%YAML 9.9\n---\nmeters:", "\0",
)  # fmt: skip


def take(folder: Path, raw: bytes) -> None:
    """Read a file as `catalog plan` does, up to its rows."""
    (path := folder / "c.yaml").write_bytes(raw)
    with suppress(UsageError):
        read = catalog_file.read(path)
        if not check(read, known_calendars=(), longest_period_days=400):
            catalog_file.in_memory(read)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("catalogs")


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_file_is_refused_in_words(folder: Path, text: str) -> None:
    take(folder, text.encode())


def test_any_value_anywhere_in_a_catalog_is_read_or_refused(folder: Path) -> None:
    values = st.sampled_from((..., *ODD)) | st.text(max_size=6) | st.integers() | st.floats()

    @settings(max_examples=EXAMPLES)
    @given(st.sampled_from(PLACES), values)
    def any_value(path: tuple[Any, ...], value: Any) -> None:
        take(folder, yaml.safe_dump(replaced(DOCUMENT, path, value)).encode("utf-8", "surrogatepass"))

    any_value()


def test_any_cut_and_any_bytes_are_read_or_refused(folder: Path) -> None:
    whole = EXAMPLE.encode()

    @settings(max_examples=EXAMPLES)
    @given(st.integers(0, len(whole)), st.binary(max_size=4), st.integers(0, 40))
    def any_bytes(at: int, put: bytes, gone: int) -> None:
        take(folder, whole[:at] + put + whole[at + gone :])

    any_bytes()
