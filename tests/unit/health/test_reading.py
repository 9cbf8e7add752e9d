"""Jobs as Flink's REST interface describes them, and disks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.http_server import serving
from tidemark.core.errors import UnavailableError
from tidemark.core.settings import Settings
from tidemark.health import reading
from tidemark.health.lag import sources
from tidemark.health.reading import NOT_SUBMITTED, RETRY_S, UNREACHABLE, Kafka, disks_of, jobs_of

NOW_MS = 1_000_000
REFUSED = {"errors": ["Unable to get JobMasterGateway for initializing job."]}
DONE = {"id": 7, "trigger_timestamp": 990_000, "end_to_end_duration": 1_500}


def row(jid: str, name: str, state: str, start: int) -> dict[str, Any]:
    return {"jid": jid, "name": name, "state": state, "start-time": start, "duration": NOW_MS - start}


class Flink:
    """Answers of a JobManager, as recorded from one, by path."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        flink = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = flink.answers.get(self.path.partition("?")[0], [])
                body = json.dumps(answer).encode()
                self.send_response(503 if answer == REFUSED else 200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def settings(self, **changes: Any) -> Settings:
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        return Settings().with_changes({"flink.rest_url": url, "health.jobs": ("rollup",), **changes})


@pytest.fixture
def flink() -> Iterator[Flink]:
    made = Flink()
    with serving(made.server):
        yield made


def checkpoints(completed: Any, failed_ids: tuple[int, ...] = (), restored: Any = None) -> dict[str, Any]:
    history = [{"id": number, "status": "FAILED"} for number in failed_ids]
    failed = {"id": max(failed_ids)} if failed_ids else None
    return {"latest": {"completed": completed, "failed": failed, "restored": restored}, "history": history}


def test_a_running_job_has_the_age_of_its_checkpoint_and_those_that_failed_since(flink: Flink) -> None:
    flink.answers["/jobs/overview"] = {"jobs": [row("a", "tidemark-rollup", "RUNNING", 100_000)]}
    flink.answers["/jobs/a/checkpoints"] = checkpoints(DONE, failed_ids=(5, 8, 9))
    flink.answers["/jobs/a/metrics"] = [{"id": "numRestarts", "value": "4"}]
    (job,) = jobs_of(flink.settings())
    assert (job.running, job.started_at, job.restarts) == (True, 100.0, 4)
    assert (job.checkpoint_age_s, job.checkpoint_duration_s, job.failed_checkpoints) == (8.5, 1.5, 2)


def test_without_a_checkpoint_its_age_counts_from_start_or_restore(flink: Flink) -> None:
    flink.answers["/jobs/overview"] = {"jobs": [row("a", "tidemark-rollup", "RUNNING", 900_000)]}
    flink.answers["/jobs/a/checkpoints"] = checkpoints(None)
    (job,) = jobs_of(flink.settings())
    assert (job.checkpoint_age_s, job.checkpoint_duration_s, job.restarts) == (100.0, None, None)
    flink.answers["/jobs/a/checkpoints"] = checkpoints(None, restored={"restore_timestamp": 940_000})
    assert jobs_of(flink.settings())[0].checkpoint_age_s == 60.0


def test_an_active_job_counts_before_those_that_ended_and_only_one_of_the_run(flink: Flink) -> None:
    flink.answers["/jobs/overview"] = {
        "jobs": [
            row("a", "tidemark-rollup", "RESTARTING", 100_000),
            row("b", "tidemark-rollup", "FAILED", 200_000),
            row("c", "tidemark-rollup-r2", "RUNNING", 300_000),
        ]
    }
    flink.answers["/jobs/a/checkpoints"] = checkpoints(DONE)
    (job,) = jobs_of(flink.settings())
    assert (job.state, job.running) == ("RESTARTING", False)
    flink.answers["/jobs/overview"]["jobs"].pop(0)
    assert jobs_of(flink.settings())[0].state == "FAILED"
    assert jobs_of(flink.settings(run_id="r3"))[0].state == NOT_SUBMITTED


def test_a_job_that_initialises_says_nothing_of_the_others(flink: Flink) -> None:
    flink.answers["/jobs/overview"] = {
        "jobs": [row("a", "tidemark-meter", "INITIALIZING", 1), row("b", "tidemark-rollup", "RUNNING", 1)]
    }
    flink.answers["/jobs/a/checkpoints"] = REFUSED
    flink.answers["/jobs/b/checkpoints"] = checkpoints(DONE)
    jobs = jobs_of(flink.settings(**{"health.jobs": ("meter", "rollup")}))
    assert [(one.job, one.state, one.running) for one in jobs] == [
        ("meter", "INITIALIZING", False), ("rollup", "RUNNING", True),
    ]  # fmt: skip


def test_no_job_is_known_to_run_when_flink_does_not_answer(flink: Flink) -> None:
    settings = flink.settings()
    flink.server.shutdown()
    flink.server.server_close()
    (job,) = jobs_of(settings)
    assert (job.state, job.running) == (UNREACHABLE, False)


def test_after_a_failure_kafka_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now, made = [0.0], []

    class Reader:
        def __init__(self, _: Settings) -> None:
            made.append(now[0])
            if len(made) == 1:
                raise UnavailableError("no broker", "")

        def read(self) -> tuple[tuple[()], bool]:
            return (), len(made) == 2

        def close(self) -> None:
            pass

    monkeypatch.setattr(reading, "LagReader", Reader)
    kafka = Kafka(Settings(), lambda: now[0])
    for now[0] in (0.0, RETRY_S - 1):
        with pytest.raises(UnavailableError, match="no broker"):
            kafka.read()
    assert kafka.counted_before is None
    now[0] = RETRY_S
    assert kafka.read() == ((), True)
    made.append(0.0)
    # A topic that was made anew: deltas were written all the same.
    assert kafka.read() == ((), True)


def test_disks_are_those_of_state_and_archive_where_they_are_local(tmp_path: Path) -> None:
    local = Settings().with_changes({
        "flink.state_dir": (tmp_path / "not" / "yet").as_uri(), "archive.dir": "s3://bucket/archive",
    })  # fmt: skip
    (disk,) = disks_of(local)
    assert (disk.path, disk.total) == (str(tmp_path / "not" / "yet"), shutil.disk_usage(tmp_path).total)
    assert [one.path for one in disks_of(local.with_changes({"health.disk_paths": ("/", "/")}))] == ["/"]


def test_each_job_is_compared_with_what_it_reads_under_the_names_of_its_run() -> None:
    run = Settings().with_changes({"run_id": "r1", "topics.events": "e"})
    assert [(one.job, one.topic, one.group) for one in sources(run)] == [
        ("meter", "e", "tidemark-meter-r1"),
        ("meter", "e.redrive", "tidemark-meter-r1"),
        ("rollup", "usage.deltas.r1", "tidemark-rollup-deltas_for_totals-r1"),
    ]
