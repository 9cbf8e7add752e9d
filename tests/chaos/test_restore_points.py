"""State that `meter` must not go on from: another cluster runs it, it is not the last one, it is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.flink.damaged import await_restored
from jobs.flink.rest import wait_until
from jobs.flink.restore import RestorePoint, restore_points
from jobs.flink.submit import submit
from tests.chaos.flink_processes import other_cluster
from tests.chaos.load import measured, under_load
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, generate
from tidemark.core.errors import TidemarkError, UsageError

pytestmark = pytest.mark.drill

RETAINED = 3


def points(run: Pipeline, job: str = "meter") -> list[RestorePoint]:
    return restore_points(run.settings, run.settings.names.job(job))


def cancelled(run: Pipeline) -> None:
    """Both jobs ended where they are, with the checkpoints that Flink keeps."""
    assert all(len(points(run, job)) >= RETAINED for job in ("meter", "rollup"))
    run.cancel()


def refused(run: Pipeline, job: str, path: str = "") -> TidemarkError:
    """What `submit` says, which starts nothing."""
    with pytest.raises(TidemarkError) as error:
        submit(run.settings, job, from_savepoint=path)
    assert run.rest.active(run.settings.names.job(job)) is None
    return error.value


def begun(run: Pipeline, job: str, timeout_s: float = 120, path: str = "") -> str:
    """Submit a job and wait until it makes progress; what it goes on from."""
    submitted = submit(run.settings, job, from_savepoint=path)
    await_restored(run.settings, job, submitted.job_id, submitted.restored_from, timeout_s)
    return submitted.restored_from


def test_a_second_cluster_starts_no_second_job_from_the_same_checkpoint(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=20_000, seed=41))
    with pipeline(stack.settings, "twojobs", CATALOG, tmp_path) as run:
        run.start()
        with under_load(run, records), other_cluster(stack) as url:
            elsewhere = run.settings.with_changes({"flink.rest_url": url})
            run.wait_committed(len(records) // 20)
            with measured("two jobs: refused"), pytest.raises(UsageError, match="runs on another cluster"):
                submit(elsewhere, "meter")
            with pytest.raises(UsageError, match="runs on another cluster"):
                submit(elsewhere, "meter", from_savepoint=points(run)[0].path)
        run.wait_drained()
        with run.oracle() as oracle:
            run.assert_exact(oracle)


def test_only_the_last_state_is_gone_on_from_and_damage_is_named(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=20_000, seed=42))
    with pipeline(stack.settings, "damaged", CATALOG, tmp_path) as run:
        run.start()
        with under_load(run, records):
            run.wait_committed(len(records) // 10)
            cancelled(run)
            # Given an older checkpoint, behind which deltas are committed.
            newest, older = points(run)[:2]
            error = refused(run, "meter", older.path)
            assert f"has written more since checkpoint {older.number}" in error.what
            # Given metadata without their begin, of both jobs.
            for job in ("meter", "rollup"):
                damage(Path(points(run, job)[0].path, "_metadata"), 0)
            error = refused(run, "meter")
            assert newest.path in error.what
            assert "damaged" in error.what
            assert "replay" in error.fix
            before = points(run, "rollup")[1]
            assert f"tidemark submit rollup --from-savepoint {before.path}" in refused(run, "rollup").fix
            # When the one is put right, and the other goes back as it was advised, then both go on.
            damage(Path(newest.path, "_metadata"), 0)
            with measured("damaged checkpoint: both jobs at work again"):
                assert begun(run, "meter") == newest.path
                begun(run, "rollup", path=before.path)
        run.wait_drained()
        with run.oracle() as oracle:
            run.assert_exact(oracle)


def test_state_that_flink_cannot_read_is_named_and_its_job_ended(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=20_000, seed=43))
    with pipeline(stack.settings, "tornstate", CATALOG, tmp_path) as run:
        run.start()
        run.send(records[: len(records) // 2])
        run.wait_drained()
        cancelled(run)
        newest = points(run)[0]
        files = state_files(newest)
        assert files
        whole = {file: file.read_bytes() for file in files}
        for file, content in whole.items():
            file.write_bytes(content[: len(content) // 2])
        with pytest.raises(TidemarkError, match=r"cannot be restored") as error:
            begun(run, "meter", 30)
        print(error.value)  # noqa: T201 - what an operator reads
        name = run.settings.names.job("meter")
        wait_until(lambda: run.rest.active(name) is None, 60, "the job to end")
        for file, content in whole.items():
            file.write_bytes(content)
        with measured("truncated state: both jobs at work again"):
            run.start()
        run.send(records[len(records) // 2 :])
        run.wait_drained()
        with run.oracle() as oracle:
            run.assert_exact(oracle)


def damage(file: Path, at: int) -> None:
    """Flip the bits of eight bytes; twice, and they are as before."""
    content = bytearray(file.read_bytes())
    for place in range(at, at + 8):
        content[place] ^= 0xFF
    file.write_bytes(content)


def state_files(point: RestorePoint) -> list[Path]:
    """Files of state beside the metadata; small state is in the metadata."""
    folder = Path(point.path)
    return [file for part in (folder, folder.parent / "shared") for file in part.rglob("*")
            if file.is_file() and file.name != "_metadata"]  # fmt: skip
