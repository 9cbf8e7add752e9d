"""`tidemark period`: what it prints, how it reads anchors and instants, and why it says no."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given

from tests.unit import strategies as own
from tests.unit.strategies import ms_of
from tidemark.cli import main as cli
from udfs.values import rfc3339

ROOT = Path(__file__).parents[3]
NEW_YORK = ("--timezone", "America/New_York")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run `tidemark period`; returns exit code, stdout and stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tidemark", "period", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()  # type: ignore[return-value]

    return call


@pytest.fixture
def span(run):
    """Start and end of a period, from the JSON document, which must have nothing else."""

    def call(*arguments: str) -> tuple[str, str]:
        code, out, err = run(*arguments, "--json")
        assert (code, err) == (0, "")
        document = json.loads(out)
        assert list(document) == ["start", "end"]
        return document["start"], document["end"]

    return call


# --- what it prints ---------------------------------------------------------------------------------------------------


def test_the_json_document_is_start_and_end_in_utc_and_nothing_else(run) -> None:
    code, out, _ = run(
        "--anchor", "2023-01-31", "--interval", "P1M", *NEW_YORK, "--at", "2024-03-05T12:00:00Z", "--json"
    )
    assert (code, out) == (0, '{"start": "2024-02-29T05:00:00Z", "end": "2024-03-31T04:00:00Z"}\n')


def test_without_json_it_says_where_the_period_lies_here_and_why(run) -> None:
    code, out, err = run("--anchor", "2023-01-31", "--interval", "P1M", *NEW_YORK, "--at", "2024-03-05T12:00:00Z")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "start  2024-02-29T05:00:00Z     2024-02-29T00:00:00-05:00 local",
        "end    2024-03-31T04:00:00Z     2024-03-31T00:00:00-04:00 local",
        "at     2024-03-05T12:00:00Z     2024-03-05T07:00:00-05:00 local",
        "why    The anchor is 2023-01-31T00:00:00 in America/New_York: local midnight of the date given.",
        "       This is period 13: it begins 13 x P1M after the anchor and ends 14 x P1M after it.",
        "       start: 2024-02 has no day 31, so it is clamped to 2024-02-29.",
    ]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        # 01:59 EST → 03:00 EDT
        (("--anchor", "2024-02-10T02:30", "--interval", "P1M", "--at", "2024-03-10"),
         "end: the clock skips 2024-03-10T02:30:00, which moves forward by the gap to 2024-03-10T03:30:00-04:00."),
        (("--anchor", "2024-02-10T02:30", "--interval", "P1M", "--at", "2024-03-11"), "start: the clock skips"),
        # 01:59 EDT → 01:00 EST
        (("--anchor", "2024-10-03T01:30", "--interval", "P1M", "--at", "2024-11-04"),
         "start: the clock shows 2024-11-03T01:30:00 twice; the first is taken, 2024-11-03T01:30:00-04:00."),
        (("--anchor", "2024-01-01T00:00", "--interval", "PT6H", "--at", "2024-01-02T12:00:00Z"),
         "This is period 5: it begins 30 h after that and ends 36 h after it."),
        (("--interval", "P1W", "--at", "2024-01-02"), "2000-01-03T00:00:00 in America/New_York: no anchor"),
        (("--boundaries", "2024-01-01,2024-01-29,2024-02-26", "--at", "2024-02-01"), "This is period 2 of 2"),
        (("--anchor", "2024-11-03T06:30:00Z", "--interval", "P1M", "--at", "2024-11-04"), "this is the second, but"),
        (("--anchor", "2024-11-03T05:30:00Z", "--interval", "P1M", "--at", "2024-11-04"), "at the instant given.\n"),
        (("--anchor", "2024-11-03T06:30:00Z", "--interval", "PT6H", "--at", "2024-11-04"),
         "counted from the anchor's instant 2024-11-03T06:30:00Z."),
    ],
)  # fmt: skip
def test_what_moved_a_boundary_is_said(run, arguments: tuple[str, ...], why: str) -> None:
    code, out, _ = run(*arguments, *NEW_YORK)
    assert code == 0
    assert why in out


def test_a_period_that_nothing_moved_has_no_such_line(run) -> None:
    _, out, _ = run("--anchor", "2024-01-15", "--interval", "P1M", *NEW_YORK, "--at", "2024-05-01")
    assert len(out.splitlines()) == 5


def test_milliseconds_are_printed_only_where_there_are_some(span) -> None:
    result = span(
        "--anchor", "2024-01-01T00:00:00.250", "--interval", "PT1H", "--timezone", "UTC", "--at", "2024-01-01"
    )
    assert result == ("2023-12-31T23:00:00.250Z", "2024-01-01T00:00:00.250Z")
    assert rfc3339(-1) == "1969-12-31T23:59:59.999Z"


@given(own.instants)
def test_printed_instants_read_back_as_they_were(ms: int) -> None:
    assert ms_of(rfc3339(ms)) == ms
    assert len(rfc3339(ms)) == (24 if ms % 1_000 else 20)


# --- anchors and instants ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "anchor", ["2024-01-31", "2024-01-31T00:00:00", "2024-01-31T05:00:00Z", "2024-01-31T06:00:00+01:00"]
)
@pytest.mark.parametrize(
    "at", ["2024-03-31", "2024-03-31T04:00:00Z", "2024-03-31 00:00:00-04:00", "2024-03-31t04:00:00.000z"]
)
def test_an_anchor_and_an_instant_may_be_written_in_each_way(span, anchor: str, at: str) -> None:
    # A date is local midnight; an instant is what the clock there shows at it.
    result = span("--anchor", anchor, "--interval", "P1M", *NEW_YORK, "--at", at)
    assert result == ("2024-03-31T04:00:00Z", "2024-04-30T04:00:00Z")


@pytest.mark.parametrize(
    ("at", "start"),
    [
        ("2024-03-31T03:59:59.999Z", "2024-02-29T05:00:00Z"),
        ("2024-03-31T03:59:59.999999Z", "2024-02-29T05:00:00Z"),
        ("2024-03-31T04:00:00Z", "2024-03-31T04:00:00Z"),
    ],
)
def test_the_end_belongs_to_the_next_period(span, at: str, start: str) -> None:
    assert span("--anchor", "2024-01-31", "--interval", "P1M", *NEW_YORK, "--at", at)[0] == start


def test_a_second_reading_as_anchor_means_the_first_for_months_and_itself_for_hours(span) -> None:
    # 01:30 EDT = 05:30Z    01:30 EST = 06:30Z (given)
    asked = ("--anchor", "2024-11-03T06:30:00Z", *NEW_YORK, "--at", "2024-11-03T06:30:00Z")
    assert span(*asked, "--interval", "P1M") == ("2024-11-03T05:30:00Z", "2024-12-03T06:30:00Z")
    assert span(*asked, "--interval", "PT6H") == ("2024-11-03T06:30:00Z", "2024-11-03T12:30:00Z")


def test_the_first_instant_of_the_years_is_an_anchor_west_of_greenwich_too(span) -> None:
    result = span("--anchor", "1970-01-01T00:00:00Z", "--interval", "P1D", *NEW_YORK, "--at", "1970-01-01T12:00:00Z")
    assert result == ("1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z")


@pytest.mark.parametrize(
    ("at", "timezone"), [("1970-01-01", "Pacific/Kiritimati"), ("2100-12-31", "Pacific/Pago_Pago")]
)
def test_the_first_and_the_last_day_are_found_in_every_zone(span, at: str, timezone: str) -> None:
    start, end = span("--interval", "P1D", "--timezone", timezone, "--at", at)
    assert ms_of(end) - ms_of(start) == 86_400_000


def test_listed_boundaries_may_be_one_option_or_several(span) -> None:
    asked = (*NEW_YORK, "--at", "2024-02-01")
    result = span("--boundaries", "2024-01-01, 2024-01-29,2024-02-26", *asked)
    assert result == ("2024-01-29T05:00:00Z", "2024-02-26T05:00:00Z")
    assert span("--boundaries", "2024-01-01,2024-01-29", "--boundaries", "2024-02-26", *asked) == result


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--interval", "P1M", "--at", "2024-03-05T12:00:00"), "neither an instant with its zone nor a date"),
        (("--interval", "P1M", "--at", "now"), "write for example 2024-03-05T12:00:00Z"),
        (("--interval", "P1M", "--at", "2024-02-30"), "'2024-02-30' is not a day"),
        (("--interval", "P1M", "--at", "2024-02-30T00:00:00Z"), "is not an instant"),
        (("--interval", "P1M", "--at", "2024-06-30T23:59:60Z"), "is not an instant"),
        (("--interval", "P1M", "--at", "1969-12-30T00:00:00Z"), "outside the years 1970 to 2100"),
        (("--interval", "P1M", "--at", "2101-01-02T00:00:00Z"), "outside the years 1970 to 2100"),
        (("--interval", "P1M", "--anchor", "2024-02-30", "--at", "2024-03-01"), "anchor '2024-02-30'"),
        (("--interval", "P1M", "--anchor", "2101-01-01T00:00:00Z", "--at", "2024-03-01"), "outside the years"),
        (("--interval", "P1M", "--anchor", "2024-01-01T00:00:00.0001Z", "--at", "2024-03-01"), "finer than a"),
        (("--interval", "P1.5M", "--at", "2024-03-01"), "a whole number"),
        (("--at", "2024-03-01"), "interval is missing"),
        (("--interval", "P1M", "--boundaries", "2024-01-01,2025-01-01", "--at", "2024-03-01"), "leave out"),
        (("--boundaries", "2024-01-01,2025-01-01", "--at", "2025-01-01"), "is in no period"),
        (("--interval", "P1M", "--at", "2024-03-01", "--timezone", "Mars/Olympus"), "time zone 'Mars/Olympus'"),
        (("--interval", "P1M"), "--at"),
    ],
)
def test_a_wrong_call_ends_with_code_2_and_says_what_is_wrong(run, arguments: tuple[str, ...], why: str) -> None:
    code, out, err = run(*NEW_YORK, *arguments)
    assert (code, out) == (2, "")
    assert why in " ".join(err.split())


def test_the_command_needs_no_flink_and_no_service() -> None:
    heavy = ("pyflink", "psycopg", "kafka", "duckdb")
    imports = f"import sys, tidemark.cli.period; print([one for one in {heavy} if one in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", imports], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def documented() -> list[tuple[str, str]]:
    """Commands in docs/calendars.md with what they are said to print."""
    page = (ROOT / "docs" / "calendars.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n\$ tidemark period (.*)\n((?:.*\n)+?)```", page)
    assert len(blocks) == page.count("```console")
    return blocks


@pytest.mark.parametrize(("command", "printed"), documented())
def test_the_documented_examples_print_what_they_are_said_to(run, command: str, printed: str) -> None:
    assert run(*command.split()) == (0, printed, "")
