"""From which state a job may go on, by what Kafka has committed and aborted of its output."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from jobs.flink.damaged import instead, refuse_damaged
from jobs.flink.output import refuse_aborted, refuse_later
from jobs.flink.restore import RestorePoint, named, newest_first, unseen
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.kafka.transactions import ABORTED, Transaction
from tidemark.core.settings import Settings

JOB = "tidemark-meter"
POINT = RestorePoint("/state/0a/chk-57", 1_000.0, 57)


def transaction(number: int, state: str, sink: str = "deltas") -> Transaction:
    return Transaction(f"{JOB}-{sink}-0-{number}", number, state)


def test_state_behind_which_something_is_committed_is_refused_with_what_it_is() -> None:
    found = [transaction(number, "CompleteCommit") for number in (58, 59, 61, 62)]
    with pytest.raises(UsageError, match=r"since checkpoint 57 .*tidemark-meter-deltas-0-58, .*-59, .*-61 and 1 more"):
        refuse_later(JOB, POINT, found)


def test_the_last_state_is_taken_whatever_the_job_has_begun_since() -> None:
    refuse_later(JOB, POINT, [transaction(57, "CompleteCommit"), transaction(58, "Ongoing"), transaction(59, "Empty")])


@pytest.mark.parametrize("state", sorted(ABORTED))
def test_state_of_which_something_was_aborted_is_refused(state: str) -> None:
    with pytest.raises(TidemarkError, match="has aborted tidemark-meter-dlq-0-56") as refused:
        refuse_aborted(JOB, POINT, [transaction(56, state, "dlq")])
    assert "state-that-cannot-be-restored" in refused.value.fix


def test_what_was_aborted_behind_a_state_is_counted_again_from_there() -> None:
    refuse_aborted(JOB, POINT, [transaction(58, "CompleteAbort"), transaction(57, "CompleteCommit")])


def test_state_is_ordered_by_number_whatever_clocks_say() -> None:
    # Given a clock that was set back by an hour between two checkpoints, and a savepoint whose file is damaged.
    points = [
        RestorePoint("/state/chk-9", 5_000.0, 9), RestorePoint("/state/chk-10", 1_400.0, 10),
        RestorePoint("/state/savepoint-damaged", 1_300.0), RestorePoint("/state/savepoint-older", 900.0, 3),
    ]  # fmt: skip
    for order in permutations(points):
        paths = [one.path.rpartition("/")[2] for one in newest_first(order)]
        assert paths == ["chk-10", "chk-9", "savepoint-damaged", "savepoint-older"]


def test_a_damaged_savepoint_that_is_the_last_one_is_not_passed_over() -> None:
    points = [RestorePoint("/state/savepoint-damaged", 2_000.0), RestorePoint("/state/chk-9", 1_000.0, 9)]
    assert newest_first(points)[0].path == "/state/savepoint-damaged"


def test_where_nothing_can_be_listed_the_path_of_a_checkpoint_has_its_number() -> None:
    assert unseen("hdfs:///state/0a/chk-57/").number == 57
    assert unseen("hdfs:///state/savepoint-0a-1").number == -1


@pytest.mark.parametrize("form", ["{}", "file://{}", "file:{}", "{}/"])
def test_what_is_before_a_damaged_state_is_found_however_it_is_named(tmp_path: Path, form: str) -> None:
    for number in (7, 8):
        folder = tmp_path / f"checkpoints/tidemark-rollup/0a/chk-{number}"
        folder.mkdir(parents=True)
        (folder / "_metadata").write_bytes(b"damaged")
    settings, newest = Settings(flink={"state_dir": tmp_path.as_uri()}), str(folder)
    fix = instead(settings, "rollup", form.format(newest))
    assert f"`tidemark submit rollup --from-savepoint {newest.replace('chk-8', 'chk-7')}`" in fix
    with pytest.raises(TidemarkError, match="chk-8 is damaged"):
        refuse_damaged(settings, "rollup", named(settings, form.format(newest)))
