"""Replays without I/O: what is left to read, differences, settings of their jobs."""

from __future__ import annotations

import csv
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.errors import UnknownTopicOrPartitionError

from jobs.flink.submit import submit
from tidemark.billing.watermark import as_text
from tidemark.cli.main import app
from tidemark.core.errors import UnavailableError, UsageError
from tidemark.core.policy import scope_of
from tidemark.core.settings import Settings, load
from tidemark.replay import discard, reprocess
from tidemark.replay.diff import Line, by_meter, write_csv
from tidemark.replay.record import MARGIN, Replay, run_settings
from tidemark.replay.run import Progress, Request, missing, needed

JANUARY, MARCH = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
OFFSETS = st.dictionaries(st.sampled_from("0123"), st.integers(0, 100), max_size=4)


def replay(end: datetime | None = MARCH, tenants: tuple[str, ...] = ("acme",)) -> Replay:
    return Replay(
        replay_id="r", state="running", scope_start=JANUARY, scope_end=end, tenants=tenants, from_archive=False,
        events_topic="usage.events", catalog_at=None, events_per_s=7, read_from=None, late_until=MARCH, starts={},
        target={}, reached=None, watermark=None, started_at=MARCH, started_by="x", caught_up_at=None,
    )  # fmt: skip


def line(meter: str = "calls", before: str | None = "1", after: str | None = "2", dims: str = "") -> Line:
    values = (None if text is None else Decimal(text) for text in (before, after))
    return Line("acme", "alice", meter, dims, JANUARY, MARCH, "calls", *values, final=True)


@given(OFFSETS, OFFSETS, OFFSETS)
def test_what_is_left_to_read_is_never_less_than_nothing_and_nothing_at_the_target(
    starts: dict[str, int], target: dict[str, int], read: dict[str, int]
) -> None:
    total, left = missing({"t": starts}, {"t": target}, {}), missing({"t": starts}, {"t": target}, {"t": read})
    assert 0 <= left <= total
    assert missing({"t": starts}, {"t": target}, {"t": target}) == 0


def test_a_partition_in_which_nothing_is_to_be_read_is_not_waited_for() -> None:
    assert needed({"t": {"0": 5, "1": 9}}, {"t": {"0": 8, "1": 9}}) == {"t": {0: 8}}
    assert as_text({"t": {0: 8}}) == {"t": {"0": 8}}


def test_the_time_left_follows_from_the_rate() -> None:
    assert Progress(60, 100, 20.0).left_s == 2
    assert Progress(60, 100).left_s is None


def test_the_jobs_of_a_replay_measure_its_scope_and_a_margin_as_a_run_of_its_own() -> None:
    run = run_settings(Settings(), replay())
    scope = scope_of(run.replay)
    assert run.run_id == "replay__r"
    assert run.names.usage_schema == "usage_replay__r"
    assert scope is not None
    assert scope.tenants == {"acme"}
    assert scope.start_ms == int((JANUARY - MARGIN).timestamp() * 1_000)
    assert scope.end_ms == int((MARCH + MARGIN).timestamp() * 1_000)
    assert run.replay.events_per_s == 7


def test_nobody_waits_for_the_rows_of_a_replay_with_an_end() -> None:
    run = run_settings(Settings(), replay())
    assert (run.meter.backlog_tick_ms, run.rollup.minibatch_ms, run.rollup.customer_windows) == (5_000, 10_000, False)
    slower = run_settings(Settings(meter={"checkpoint_interval_ms": 60_000}), replay())
    assert (slower.meter.checkpoint_interval_ms, slower.rollup.checkpoint_interval_ms) == (60_000, 10_000)


def test_a_replay_that_runs_on_is_as_quick_as_the_live_run() -> None:
    run = run_settings(Settings(), replay(end=None, tenants=()))
    assert (run.meter, run.rollup) == (Settings().meter, Settings().rollup)
    assert run.replay.scope_to == ""


def test_the_jobs_of_a_replay_of_another_run_have_both_names() -> None:
    assert run_settings(Settings(run_id="trial"), replay()).run_id == "trial__r"


TENANTS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=8)


@given(st.lists(TENANTS | st.sampled_from([";", "a;b", "a", "b", '"', ",", "[]"]), min_size=1, max_size=4, unique=True))
def test_the_jobs_of_a_replay_measure_exactly_its_tenants_whatever_is_in_their_ids(tenants: list[str]) -> None:
    run = run_settings(Settings(), replay(tenants=tuple(tenants)))
    variable = run.environment()["TIDEMARK_REPLAY__SCOPE_TENANTS"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIDEMARK_REPLAY__SCOPE_TENANTS", variable)
        scope = scope_of(load().replay)
    assert scope is not None
    assert scope.tenants == set(tenants)


def test_a_layer_is_the_scope_without_the_margin() -> None:
    overlay = replay().overlay(Settings().names)
    assert overlay.usage_schema == "usage_replay__r"
    assert (overlay.tenants, overlay.start, overlay.end) == (("acme",), JANUARY, MARCH)


@pytest.mark.parametrize(
    ("before", "after", "delta"), [("1", "2.5", "1.5"), (None, "3", "3"), ("4.000000001", None, "-4.000000001")]
)
def test_a_line_says_the_difference_and_where_there_is_none(before: str | None, after: str | None, delta: str) -> None:
    document = line(before=before, after=after).document()
    assert document["delta"] == delta
    assert (document["before"], document["after"]) == (before, after)


def test_a_replay_is_never_started_as_a_run_of_its_own_without_its_scope() -> None:
    run_id = run_settings(Settings(), replay()).run_id
    with pytest.raises(UsageError, match="tidemark replay resume"):
        submit(Settings(run_id=run_id), "meter")


def test_a_catalog_is_not_applied_when_its_replay_would_be_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    applied: list[Path] = []
    monkeypatch.setattr("tidemark.catalog.tool.apply", lambda _, file, **__: applied.append(file))
    request = Request("Not An Id", "x", JANUARY, MARCH)
    with pytest.raises(UsageError):
        reprocess.start(Settings(), tmp_path, request)
    assert applied == []


def test_a_catalog_that_was_applied_without_its_replay_names_the_command_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def down(*_: Any) -> Replay:
        raise UnavailableError("Kafka cannot be reached.", "start it.")

    monkeypatch.setattr("tidemark.catalog.tool.apply", lambda *_, **__: None)
    monkeypatch.setattr("tidemark.replay.run.check", lambda *_: None)
    monkeypatch.setattr("tidemark.replay.run.start", down)
    with pytest.raises(UnavailableError, match=r"is applied, and its replay was not started") as raised:
        reprocess.start(Settings(), tmp_path, Request("r", "x", JANUARY, tenants=("a b",)))
    assert "`tidemark replay start --id r --from 2024-01-01T00:00:00Z --tenant 'a b'`;" in raised.value.fix
    with pytest.raises(UnavailableError) as raised:
        reprocess.start(Settings(run_id="trial"), tmp_path, Request("r", "x", JANUARY, events_per_s=500))
    assert (
        "`tidemark replay start --id r --from 2024-01-01T00:00:00Z --rate 500 --run-id trial`; where that says the id "
        "was used, `tidemark replay resume r --run-id trial`"
    ) in raised.value.fix


class Brokers:
    """An admin client of a cluster in which some topics are gone."""

    def __init__(self, present: list[str], gone: list[str]) -> None:
        self.listed = [*present, *gone]
        self.gone = gone
        self.deleted: list[str] = []

    def list_topics(self) -> list[str]:
        return self.listed

    def delete_topics(self, topics: list[str]) -> None:
        if topics[0] in self.gone:
            raise UnknownTopicOrPartitionError
        self.deleted += topics


def test_discarding_goes_on_after_a_topic_that_somebody_else_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_settings(Settings(), replay())
    topics = discard._topics(run, replay())
    for gone in topics:
        brokers = Brokers([topic for topic in topics if topic != gone], [gone])
        monkeypatch.setattr(discard.clients, "admin", lambda _, brokers=brokers: nullcontext(brokers))
        discard._drop_topics(run, topics)
        assert sorted(brokers.deleted) == sorted(set(topics) - {gone})


def test_differences_are_added_up_by_meter() -> None:
    lines = [line("calls"), line("calls", "5", "1", dims='{"region":"eu"}'), line("tokens", None, "7")]
    assert by_meter(lines) == [("acme", "calls", 2, Decimal(-3)), ("acme", "tokens", 1, Decimal(7))]


def test_a_file_of_lines_that_cannot_be_written_is_said_after_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tidemark.replay.diff.diff", lambda *_: [line("tokens")])
    for file in (tmp_path / "missing" / "lines.csv", tmp_path):
        with pytest.raises(UsageError, match=r"cannot be written: .*name a file in a folder that exists"):
            app(["replay", "diff", "r", "--csv", str(file)], standalone_mode=False)
        assert "tokens" in capsys.readouterr().out


def test_all_lines_are_written_as_csv(tmp_path: Path) -> None:
    file = tmp_path / "lines.csv"
    write_csv([line("=1+1", dims='{"region":"a,b"}')], file)
    with file.open(newline="") as read:
        (row,) = csv.DictReader(read)
    assert row["dims"] == '{"region":"a,b"}'
    assert row["meter"] == "'=1+1"
    assert row["delta"] == "1"
    assert timedelta(0) < MARGIN
