"""`tidemark dry-run` on inputs that others stumbled over: a folder of `cases` each, with what is to come out.

`expected.json` of a case:

========== ==================================================================================================
exit_code  0, or 2 for a catalog with faults
error      text that the message of a fault has, piece by piece
counted    events counted
rejected   line and reason of each rejected event
usage      customer, meter, dims, start of the period and value of each row, in order
days       customer, meter, dims, local date and value of each row by day, where days decide
text       text that some line of the output without --json has, piece by piece
========== ==================================================================================================
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidemark.cli.main import main

CASES = Path(__file__).parent / "cases"
NAMES = (
    "anchor-to-the-minute",
    "bom",
    "capital-true",
    "count-with-a-value",
    "dry-run-takes-what-apply-refuses",
    "filter-by-source",
    "jsonpath-of-openmeter",
    "merge-keys",
    "nfc-and-nfd",
    "number-as-event-type",
    "properties-null",
    "rfc3339-examples",
    "text-json",
    "yaml-alias-bomb",
    "zero-with-a-huge-exponent",
)
# Cases whose expected outcome does not come out yet: a name moves from here to NAMES with the change that makes it.
PENDING = (
    "average-of-voids-alone",
    "control-characters-in-a-table",
    "explain-brackets-in-id",
    "ids-with-colons",
    "st-johns-last-day",
    "void-of-a-void",
)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, stdout and stderr of a dry run of a case."""
    # Beside no local stack, whose settings would be read.
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TIDEMARK_CONFIG", raising=False)

    def dry_run(case: Path, *options: str) -> tuple[int, str, str]:
        files = ["--catalog", str(case / "catalog.yaml"), "--events", str(case / "events.ndjson")]
        monkeypatch.setattr(sys, "argv", ["tidemark", "dry-run", *files, *options])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return dry_run


@pytest.mark.parametrize("name", NAMES)
def test_a_case_comes_out_as_expected(name: str, run: Run) -> None:
    expected = json.loads((CASES / name / "expected.json").read_text())
    code, out, err = run(CASES / name, "--json")
    assert code == expected["exit_code"], err
    for piece in expected.get("error", ()):
        assert piece in err
    if code == 0:
        assert _outcome(json.loads(out), expected) == {
            key: expected[key] for key in expected if key not in {"exit_code", "error", "text"}
        }
    if "text" in expected:
        code, out, err = run(CASES / name)
        assert code == 0, err
        for piece in expected["text"]:
            assert any(piece in line for line in out.split("\n")), piece


def test_every_case_is_run_or_pending() -> None:
    assert sorted((*NAMES, *PENDING)) == sorted(path.name for path in CASES.iterdir())


def _outcome(document: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """The parts of a dry run's document that a case has an expectation of."""
    outcome: dict[str, Any] = {
        "counted": document["counts"]["counted"],
        "rejected": [[reject["line"], reject["reason"]] for reject in document["rejects"]],
        "usage": [[*_series(row), row["start"], row["value"]] for row in document["usage"]["period"]],
    }
    if "days" in expected:
        outcome["days"] = [[*_series(row), row["day"], row["value"]] for row in document["usage"]["day"]]
    return outcome


def _series(row: dict[str, Any]) -> list[Any]:
    return [row["customer_id"], row["meter"], row["dims"]]
