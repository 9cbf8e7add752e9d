"""What contestants share: which events count, and that each says what it guarantees and leaves out."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from tests.bench import toolbox
from tests.bench.events import GRACE_MS, event

COMMON = "tests.bench.contestants.common"
NOW_MS = 1_700_000_000_000
FOLDERS = sorted(folder for folder in toolbox.CONTESTANTS.iterdir() if (folder / "README.md").is_file())


@pytest.fixture
def common(monkeypatch, tmp_path):
    names = ("BOOTSTRAP", "TOPIC", "GROUP", "POSTGRES", "REDIS", "SCHEMA")
    for name in names:
        monkeypatch.setenv(f"CONTEST_{name}", name.lower())
    monkeypatch.setenv("CONTEST_WORK", str(tmp_path))
    monkeypatch.setenv("CONTEST_EVENTS", "10")
    sys.modules.pop(COMMON, None)
    yield importlib.import_module(COMMON)
    sys.modules.pop(COMMON)


def test_a_valid_event_counts_in_its_minute_and_month(common):
    counted = common.counted(json.loads, event(7, 3, "storage", NOW_MS), NOW_MS)
    assert counted == (
        "0b9e5c000000000007", "customer-000003", "storage", "2023-11-14T22:13:20.000Z", "2023-11-14T22:13:00Z",
        "2023-11-01T00:00:00Z", 8.25,
    )  # fmt: skip


@pytest.mark.parametrize("late_ms", [GRACE_MS, GRACE_MS + 1])
def test_an_event_counts_up_to_grace_and_not_a_millisecond_longer(common, late_ms):
    counted = common.counted(json.loads, event(7, 3, "storage", NOW_MS - late_ms), NOW_MS)
    assert (counted is not None) == (late_ms == GRACE_MS)


@pytest.mark.parametrize("payload", [b"{", b"", b"[]"[:1], event(1, 1, "storage", NOW_MS)[:-2]])
def test_an_invalid_event_does_not_count(common, payload):
    assert common.counted(json.loads, payload, NOW_MS) is None


def test_an_event_of_no_meter_does_not_count(common):
    assert common.counted(json.loads, event(1, 1, "unknown", NOW_MS), NOW_MS) is None


def test_totals_add_up_and_columns_are_ordered_by_key(common):
    totals: dict = {}
    for customer, amount in (("b", 1.0), ("a", 2.0), ("b", 0.25)):
        common.add(totals, (customer, "m", "t"), 1, amount)
    assert common.columns(totals) == [["a", "b"], ["m", "m"], ["t", "t"], [1, 2], [2.0, 1.25]]
    assert common.columns({}) == [[], [], [], [], []]


def test_the_first_record_is_marked_once(common, tmp_path):
    common.mark_first()
    first = (tmp_path / "first").read_text()
    common.mark_first()
    assert (tmp_path / "first").read_text() == first


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_each_says_what_it_guarantees_and_leaves_out(folder: Path):
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "**Guarantees:**" in text
    assert "**Leaves out:**" in text


@pytest.mark.parametrize("name", toolbox.requirements())
def test_requirements_are_pinned_and_none_is_a_constraint_of_the_product(name: str):
    lines = toolbox.requirements()[name].read_text(encoding="utf-8").split()
    assert all(re.fullmatch(r"[a-z-]+(\[\w+\])?==[\w.]+", line) for line in lines)
    constraints = Path("constraints.txt").read_text(encoding="utf-8")
    assert not any(f"\n{foreign}==" in constraints for foreign in ("quixstreams", "bytewax", "rocksdict"))
