"""State on other file systems than the local one: listed where this machine can, and said where it cannot."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.flink import submit as flink_submit
from jobs.flink.bounds import Bounds
from jobs.flink.restore import latest, place
from jobs.flink.submit import rest_options
from jobs.flink.submitted import record, recorded, values
from tests.unit.s3_server import S3Server
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.places import UnlistedError
from tidemark.core.settings import Settings

JOB_ID = "0123456789abcdef0123456789abcdef"
JOB = "tidemark-meter"


def at(state_dir: str) -> Settings:
    return Settings(flink={"state_dir": state_dir})


@pytest.mark.parametrize("scheme", ["s3", "s3a", "s3p"])
def test_the_newest_complete_state_of_s3_is_found_under_the_uri_that_flink_takes(s3: S3Server, scheme: str) -> None:
    folder = f"bucket/state/checkpoints/{JOB}/{JOB_ID}"
    s3.objects |= {f"{folder}/chk-7/_metadata": b"m", f"{folder}/chk-8/part": b"p", f"{folder}/shared/x": b"s"}
    savepoint = f"bucket/state/savepoints/{JOB}/savepoint-012345-a1/_metadata"
    s3.objects[savepoint] = b"m"
    s3.written[savepoint] = "2025-01-02T03:04:05.000Z"
    point = latest(at(f"{scheme}://bucket/state"), JOB)
    assert point is not None
    assert point.path == f"{scheme}://bucket/state/checkpoints/{JOB}/{JOB_ID}/chk-7"
    assert point.taken_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()


def test_of_one_second_the_highest_number_is_the_newest(s3: S3Server) -> None:
    # A stop leaves its savepoint beside the checkpoint before it, which Flink removes a little later.
    savepoint = f"bucket/state/savepoints/{JOB}/savepoint-012345-a1"
    for folder, number in ((savepoint, 9), (f"bucket/state/checkpoints/{JOB}/{JOB_ID}/chk-8", 8)):
        s3.objects[f"{folder}/_metadata"] = bytes.fromhex("4960672d00000006") + number.to_bytes(8, "big") + b"more"
    point = latest(at("s3://bucket/state"), JOB)
    assert point is not None
    assert point.path == f"s3://{savepoint}"


def test_a_folder_of_s3_in_which_nothing_is_has_no_state(s3: S3Server) -> None:  # noqa: ARG001
    assert latest(at("s3://bucket/state"), JOB) is None


def test_what_a_job_was_submitted_with_is_kept_beside_its_state_in_s3(s3: S3Server) -> None:
    settings = at("s3://bucket/state").with_changes({"rollup.customer_windows": False})
    record(settings, "rollup", JOB_ID, Bounds())
    assert [name for name in s3.objects if name.endswith(f"/{JOB_ID}.settings.json")]
    assert recorded(settings, "rollup", f"s3://bucket/x/{JOB_ID}/chk-1") == values(settings, "rollup", Bounds())


def test_a_store_that_does_not_answer_is_not_taken_for_an_empty_one(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.server.shutdown()
    s3.server.server_close()
    monkeypatch.setattr("tidemark.core.places._ATTEMPTS", 1)
    with pytest.raises(UnavailableError, match=r"s3://bucket/state/checkpoints/tidemark-meter cannot be listed"):
        latest(at("s3://bucket/state"), JOB)


def test_a_local_file_is_its_owners_alone(tmp_path: Path) -> None:
    place(Settings(), tmp_path.as_uri()).write("job.settings.json", "{}")
    assert stat.S_IMODE((tmp_path / "job.settings.json").stat().st_mode) == 0o600


def test_local_state_has_plain_paths(tmp_path: Path) -> None:
    for name in ("chk-1/_metadata", "chk-2/part"):
        file = tmp_path / "checkpoints" / JOB / JOB_ID / name
        file.parent.mkdir(parents=True)
        file.write_text("x")
    expected = str(tmp_path / "checkpoints" / JOB / JOB_ID / "chk-1")
    for state_dir in (str(tmp_path), tmp_path.as_uri(), f"{tmp_path.as_uri()}/"):
        point = latest(at(state_dir), JOB)
        assert point is not None
        assert point.path == expected
    place(Settings(), f"{tmp_path.as_uri()}/checkpoints").remove_all()
    place(Settings(), f"{tmp_path.as_uri()}/checkpoints").remove_all()
    assert latest(at(str(tmp_path)), JOB) is None


@pytest.mark.parametrize("uri", ["oss://bucket/state", "abfss://c@account.dfs.core.windows.net/state"])
def test_a_file_system_that_cannot_be_read_from_here_is_named_with_the_way_out(uri: str) -> None:
    with pytest.raises(UnlistedError, match="cannot be read from here") as refused:
        latest(at(uri), JOB)
    assert "--from-savepoint URI" in refused.value.fix


@pytest.mark.parametrize(("offsets", "starts"), [({}, True), ({0: 7}, False)])
def test_a_first_start_needs_no_state_where_it_cannot_be_listed(
    monkeypatch: pytest.MonkeyPatch, offsets: dict[int, int], starts: bool
) -> None:
    # Offsets are committed with checkpoints, so a job without them has never had any state.
    asked: list[tuple[Any, ...]] = []

    def committed(*about: Any) -> dict[int, int]:
        asked.append(about[1:])
        return offsets

    monkeypatch.setattr(flink_submit, "committed_offsets", committed)
    settings = at("oss://bucket/state")
    if starts:
        assert flink_submit._newest_state(settings, "meter") == ""
    else:
        with pytest.raises(UnlistedError, match="cannot be read from here"):
            flink_submit._newest_state(settings, "rollup")
    assert asked == [
        ("tidemark-meter", "usage.events") if starts else ("tidemark-rollup-deltas_for_totals", "usage.deltas")
    ]


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://h:8081", ["rest.address=h", "rest.port=8081"]),
        ("http://h", ["rest.address=h", "rest.port=80"]),
        (
            "https://flink.example/path/",
            [
                "rest.address=flink.example", "rest.port=443", "rest.path=/path", "security.ssl.rest.enabled=true",
            ],
        ),
        ("http://[::1]:8081", ["rest.address=::1", "rest.port=8081"]),
    ],
)  # fmt: skip
def test_flinks_client_is_given_the_whole_address(url: str, options: list[str]) -> None:
    assert rest_options(url) == [f"-D{option}" for option in options]


@pytest.mark.parametrize(("limit_ms", "refused"), [(900_000, True), (90_000_000, False), (None, False)])
def test_brokers_that_would_refuse_the_transactions_of_the_sinks_are_named_before_the_job_is_submitted(
    monkeypatch: pytest.MonkeyPatch, limit_ms: int | None, refused: bool
) -> None:
    monkeypatch.setattr(flink_submit, "transaction_limit_ms", lambda _: limit_ms)
    if not refused:
        flink_submit.check_transactions(Settings())
        return
    with pytest.raises(TidemarkError, match="900000, and the sinks need 90000000") as raised:
        flink_submit.check_transactions(Settings())
    assert "transaction.max.timeout.ms=90000000" in raised.value.fix
