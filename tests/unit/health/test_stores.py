"""What `tidemark doctor` says of object stores."""

from __future__ import annotations

import pytest

from tests.unit.s3_server import S3Server
from tidemark.core.settings import Settings
from tidemark.health.checks import Finding, stores


def found(state: str, archive: str = "") -> list[Finding]:
    return stores(Settings(flink={"state_dir": state}, archive={"dir": archive}))


def test_a_bucket_that_answers_is_fine_and_one_that_is_not_there_is_named(s3: S3Server) -> None:
    s3.buckets = {"there"}
    state, archive = found("s3://there/state", "s3a://elsewhere/archive")
    assert (state.ok, state.found) == (True, "s3://there/state answers")
    assert (archive.ok, archive.answers) == (False, True)
    assert archive.found == "archive.dir: there is no bucket elsewhere."


def test_a_store_that_does_not_answer_is_not_taken_for_one_without_the_bucket(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.server.shutdown()
    s3.server.server_close()
    monkeypatch.setattr("tidemark.core.places._ATTEMPTS", 1)
    (state,) = found("s3://bucket/state")
    assert (state.ok, state.answers) == (False, False)
    assert "s3.endpoint" in state.fix


def test_folders_are_not_asked() -> None:
    assert found("file:///var/lib/tidemark", "/archive") == []
