"""The manifest: what is written is read, and another layout or something else is refused by name."""

from __future__ import annotations

import json

import pytest

from tidemark.backup.manifest import Manifest, Sequence, Table, parsed
from tidemark.core.errors import UsageError


def manifest() -> Manifest:
    tables = [
        Table("usage", "usage_day", ["n", "total"], 3, 40, "ab"),
        Table("billing_x", "outbox", ["seq"], 1, 9, "c"),
    ]
    migrations = {"usage": {"0001_a.sql": "1"}, "billing": {}, "usage_x": {}, "billing_x": {}, "usage_x__r": {}}
    return Manifest(
        made_at="2026-01-01T00:00:00Z", version="1", postgres="17.1", timescaledb="2.19.3", run_id="",
        migrations=migrations, tables=tables, sequences=[Sequence("billing_x", "outbox", "seq", 2)],
        topics={"usage.deltas": {"id": "a", "first": {"0": 0}, "next": {"0": 4}}}, state={"rollup": "/s"},
    )  # fmt: skip


def test_what_is_written_is_read() -> None:
    assert parsed(manifest().text()) == manifest()
    assert (manifest().rows, manifest().size) == (4, 49)
    assert manifest().tables[0].file == "tables/usage.usage_day.copy.zst"


def test_a_run_without_a_ledger_is_a_replay() -> None:
    assert manifest().runs == {"": True, "x": True, "x__r": False}


def test_another_layout_is_refused_and_names_the_version_that_reads_it() -> None:
    other = json.loads(manifest().text()) | {"format": 2, "version": "9.9"}
    with pytest.raises(UsageError, match=r"layout 2.*9\.9"):
        parsed(json.dumps(other))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1}', '{"format": 1, "tables": [1], "sequences": []}'])
def test_something_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"not the manifest"):
        parsed(text)
