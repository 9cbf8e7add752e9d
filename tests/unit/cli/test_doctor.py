"""What `tidemark doctor` says by its exit code: all right, something wrong, or a service that does not answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from tidemark.cli import doctor
from tidemark.cli.main import app
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.health.checks import Finding, checked

RIGHT = Finding("Redis", ok=True, found="7.0", fix="set it")
WRONG = Finding("Postgres", ok=False, found="not migrated", fix="tidemark db migrate")
SILENT = Finding("Kafka", ok=False, found="no answer", fix="start it", answers=False)


def run(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> Any:
    monkeypatch.setattr(doctor, "_findings", lambda _: list(findings))
    return CliRunner().invoke(app, ["doctor", "--json"])


@pytest.mark.parametrize(
    ("findings", "code"),
    [((RIGHT,), 0), ((RIGHT, WRONG), 1), ((RIGHT, SILENT), 3), ((WRONG, SILENT), 3)],
    ids=["right", "wrong", "silent", "both"],
)
def test_the_exit_code_tells_wrong_from_silent(
    monkeypatch: pytest.MonkeyPatch, findings: tuple[Finding, ...], code: int
) -> None:
    done = run(monkeypatch, *findings)
    assert done.exit_code == code
    assert json.loads(done.stdout)["ok"] == (code == 0)
    assert [one["check"] for one in json.loads(done.stdout)["checks"]] == [one.check for one in findings]


@pytest.mark.parametrize(("error", "answers"), [(UnavailableError, False), (TidemarkError, True)])
def test_what_a_check_raises_is_its_finding(error: type[TidemarkError], answers: bool) -> None:
    def fails() -> Finding:
        raise error("it is down.", "start it.")

    assert checked("Kafka", fails) == Finding("Kafka", False, "it is down.", "start it.", answers)
