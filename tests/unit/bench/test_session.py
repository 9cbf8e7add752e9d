"""A session reports what fails and goes on, writes after each run, and stops in time; rates and rows are worked out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.bench import decode, session
from tests.bench.events import Load, write
from tests.bench.pace import Stage, Stream
from tests.bench.plan import RUNS, Run
from tests.bench.report.results import Found, Results, read
from tests.bench.runs import drain, live, sizes, whole
from tests.bench.world import NotEqual, NotFinished
from tests.unit.bench.test_report import COMMIT, MACHINE, results_of


class Quiet:
    """Says nothing; the runs of these tests need no more of a world."""

    def say(self, _text: str) -> None:
        """Nothing."""


def ok(_world) -> dict[str, Found]:
    found = Found()
    found.add("meter", ratio=1.0)
    return {"live": found}


def raising(error: Exception):
    def make(_world):
        raise error

    return make


def measured(tmp_path, *runs: Run, left_s: float = 600) -> tuple[list[str], Results]:
    results = results_of()
    wrong = session.measure_all(Quiet(), runs, results, tmp_path, lambda: left_s)
    return wrong, read(tmp_path / "quick.json")


@pytest.mark.parametrize(
    ("error", "status"),
    [(NotEqual("1 more"), "not equal"), (NotFinished("late"), "did not finish"), (OSError("gone"), "failed")],
)
def test_what_fails_is_reported_and_the_rest_goes_on(tmp_path, error, status):
    wrong, written = measured(tmp_path, Run(("drain_keyed", "cpu_threads"), raising(error)), Run(("live",), ok))
    assert wrong == ["drain_keyed", "cpu_threads"]
    assert {name: found.status for name, found in written.measures.items()} == {
        "drain_keyed": status, "cpu_threads": status, "live": "ok",
    }  # fmt: skip
    assert str(error) in written.measures["drain_keyed"].detail


def test_what_is_for_full_runs_alone_is_no_fault_of_a_quick_one(tmp_path):
    left_out = Run(("contest_kill",), lambda _: {"contest_kill": Found("not run", "in full runs only")})
    wrong, written = measured(tmp_path, left_out, Run(("live",), ok))
    assert wrong == []
    assert written.measures["contest_kill"].status == "not run"


def test_results_are_written_after_each_run(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path, Run(("live",), ok), Run(("sdk",), raising(KeyboardInterrupt())))
    assert list(read(tmp_path / "quick.json").measures) == ["live"]


def test_a_run_that_does_not_fit_is_left_out_and_a_shorter_one_is_not(tmp_path):
    wrong, written = measured(tmp_path, Run(("sdk",), ok, seconds=90), Run(("live",), ok, seconds=10), left_s=60)
    assert wrong == []
    assert written.measures["sdk"].status == "not run"
    assert written.measures["live"].status == "ok"


def test_what_is_not_measured_again_keeps_its_commit(tmp_path):
    results_of(live=Found("failed"), drain_keyed=Found("failed")).write(tmp_path)
    later = results_of()
    later.head["commit"] = "fedcba9876543210"
    added_to = session.continued(later, tmp_path)
    assert added_to.head == later.head
    session.measure_all(Quiet(), [Run(("live",), ok)], added_to, tmp_path, lambda: 60)
    written = read(tmp_path / "quick.json").measures
    assert {name: found.commit for name, found in written.items()} == {
        "live": "fedcba9876543210",
        "drain_keyed": COMMIT,
    }


def test_what_another_machine_found_is_not_added_to(tmp_path):
    results_of(live=Found("failed")).write(tmp_path)
    other = results_of()
    other.head["machine"] = MACHINE | {"cores": 64}
    assert session.continued(other, tmp_path).measures == {}


def test_every_measure_has_one_run_and_a_quick_session_fits_into_its_time():
    from tests.bench.measures import BY_NAME  # noqa: PLC0415 - beside its only use

    names = [name for run in RUNS for name in run.measures]
    assert sorted(names) == sorted(BY_NAME)
    assert sum(run.seconds for run in RUNS if not run.full_only) <= session.QUICK_S


def test_the_worker_is_measured_as_the_product_has_it(tmp_path):
    write(Load(400), decode.NOW_MS, tmp_path / "events.tsv")
    figures = decode.once(tmp_path / "events.tsv", passes=1)
    assert figures["bytes"] == pytest.approx(272, abs=8)
    assert min(figures["decode"], figures["worker"], figures["worker_small"]) > 0


def test_a_drain_is_warm_after_two_windows_of_one_pace():
    times = [(0, 10), (2_400, 50), (4_400, 100), (6_400, 100), (8_400, 100), (9_600, 100)]
    assert drain.warm_rate(times) == pytest.approx(400 / 5_600 * 1_000)
    assert drain.warm_rate([]) is None
    assert drain.warm_rate([(0, 10), (2_400, 50)]) is None


def test_a_pause_between_the_ticks_of_a_backlog_is_no_pace():
    """Bursts every 2 s, ten at half of the pace that the others have."""
    times = [(2_000 * burst + 10, 40_000 if burst < 10 else 80_000) for burst in range(30)]
    assert drain.warm_rate(times, window_ms=500) is None


def test_events_that_come_with_one_write_all_have_its_time():
    """They are those that waited longest: a customer's events are due each 2 s."""
    stream = Stream(1_000.0, (Stage(5_000, 20),))
    latencies = live.latencies_ms(stream, {(0, 5): 1_008_500, (0, 6): 1_010_100})
    assert latencies == {0: 8_500, 10_000: 6_500, 20_000: 4_500, 30_000: 2_500, 40_000: 500, 50_000: 100}


def test_a_longer_stream_has_the_rate_of_the_shorter_one():
    long = sizes.grown(Load(1_000), 16_000)
    assert (long.count, long.span_s) == (16_000, 16 * 3_600)


def test_the_first_record_is_consumed_when_the_last_task_runs():
    vertices = [{"subtasks": [{"timestamps": {"RUNNING": at}}]} for at in (4_000, 9_000, 7_000)]
    assert drain.first_consumed_s(vertices) == 9.0


def test_latency_is_from_due_to_the_write_that_holds_the_event():
    stream = Stream(1_000.0, (Stage(10_000, 30), Stage(1_000, 12), Stage(10_000, 5)))
    # The second event of customer 7 is number 10 007, due after 1.0007 s.
    assert live.latencies_ms(stream, {(7, 1): 1_000_100, (7, 2): 1_001_500})[10_007] == pytest.approx(499.3)
    assert live.part_of(stream, 10_007) == "10 000/s, first 10 s"
    assert live.part_of(stream, 150_000) == ""
    assert live.part_of(stream, 250_000) == "10 000/s"
    assert live.part_of(stream, 301_000) == ""
    assert live.part_of(stream, 305_000) == "1 000/s"
    assert live.part_of(stream, 345_000) == "10 000/s, warm"


def test_a_row_holds_the_first_n_events_of_its_minute():
    stream = Stream(1_200.0, (Stage(10_000, 30),))
    minute = datetime.fromtimestamp(1_200, UTC)
    rows = {(7, minute): [(1, 1_202.0), (3, 1_204.0)]}
    taken = whole.to_row_ms(stream, rows, stream.count)
    assert {index: round(ms) for index, ms in taken.items()} == {7: 1_999, 10_007: 2_999, 20_007: 1_999}
