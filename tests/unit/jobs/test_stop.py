"""A job that does not stop in time: whoever stops it hears that it may still run, and not that there is no Flink."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.flink import submit
from jobs.flink.rest import FlinkRest
from tidemark.core import audit
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.settings import Settings

SETTINGS = Settings(flink={"state_dir": "file:///state", "rest_url": "http://127.0.0.1:1"})


def test_a_savepoint_that_takes_too_long_is_no_missing_flink(monkeypatch: pytest.MonkeyPatch) -> None:
    running = {"jid": "a" * 32, "name": SETTINGS.names.job("meter"), "state": "RUNNING", "start-time": 1, "duration": 1}

    def answer(_: FlinkRest, method: str, path: str, **__: Any) -> Any:
        if path == "/jobs/overview":
            return {"jobs": [running]}
        return {"request-id": "r"} if method == "POST" else {"status": {"id": "IN_PROGRESS"}}

    monkeypatch.setattr(FlinkRest, "_call", answer)
    monkeypatch.setattr(audit, "record_before", lambda *_, **__: 1)
    with pytest.raises(TidemarkError, match="may still run") as error:
        submit.stop(SETTINGS, "meter", timeout_s=0.01)
    assert error.value.exit_code == 1
    assert "tidemark stop meter" in error.value.fix


def test_without_flink_it_is_said_that_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "record_before", lambda *_, **__: 1)
    with pytest.raises(UnavailableError, match="does not answer"):
        submit.stop(SETTINGS, "meter", timeout_s=0.01)
