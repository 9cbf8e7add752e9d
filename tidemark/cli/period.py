"""`tidemark period`: the billing period that contains an instant, and why; needs no catalog and no service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated

import typer

from tidemark.cli.output import Json, emit
from tidemark.core.errors import UsageError
from udfs.calendars.boundaries import BoundaryCalendar
from udfs.calendars.calendar import Calendar, aligned_anchor, parse_anchor, parse_calendar, parse_interval
from udfs.calendars.localtime import MAX_MS, MIN_MS, CalendarError, instant_of, local_at, reading_of, zone
from udfs.values import epoch_ms, rfc3339

_DAY_MS = 86_400_000
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("period")(period)


def period(
    timezone: Annotated[str, typer.Option(help="IANA name, for example America/New_York.")],
    at: Annotated[str, typer.Option(help="Instant with Z or an offset, or a date: local midnight.")],
    anchor: Annotated[
        str | None,
        typer.Option(help="Start of a period: date (local midnight), local date-time, or instant. Else aligned."),
    ] = None,
    interval: Annotated[str | None, typer.Option(help="ISO 8601, for example P1M, P2W, P1Y6M, P45D, PT6H.")] = None,
    boundaries: Annotated[
        list[str] | None, typer.Option(help="Instead: local dates or date-times, comma-separated or repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the billing period that contains an instant: start and end (exclusive), and how they were found."""
    try:
        calendar, notes = _calendar(anchor, interval, timezone, _listed(boundaries or []))
        ms = _instant(at, timezone)
        holding = calendar.period_at(ms)
        why = [*notes, *_why(calendar, calendar.index_at(ms), interval or "")]
    except CalendarError as error:
        raise UsageError(str(error), "docs/calendars.md has the rules, with examples.") from None
    start, end = rfc3339(holding.start_ms), rfc3339(holding.end_ms)
    moments = [("start", holding.start_ms), ("end", holding.end_ms), ("at", ms)]
    lines = [f"{name:<6} {rfc3339(moment):<24} {_shown(moment, timezone)} local" for name, moment in moments]
    text = "\n".join([*lines, *(f"{'' if row else 'why':<6} {line}" for row, line in enumerate(why))])
    emit({"start": start, "end": end}, text, as_json=as_json)


def _shown(ms: int, timezone: str) -> str:
    return local_at(ms, timezone).isoformat() if ms % 1_000 == 0 else _with_ms(ms, timezone)


def _with_ms(ms: int, timezone: str) -> str:
    return local_at(ms, timezone).replace(microsecond=ms % 1_000 * 1_000).isoformat(timespec="milliseconds")


def _listed(options: list[str]) -> list[str]:
    return [text.strip() for option in options for text in option.split(",") if text.strip()]


# --- arguments --------------------------------------------------------------------------------------------------------


def _instant(text: str, timezone: str) -> int:
    """Epoch ms of `--at`, rounded down: no boundary is finer than a millisecond."""
    if _DATE.fullmatch(text):
        ms = instant_of(_midnight("--at", text), timezone)
    elif _INSTANT.fullmatch(text):
        ms = epoch_ms(_read("--at", text))
    else:
        raise CalendarError(
            f"--at {text[:80]!r} is neither an instant with its zone nor a date: "
            "write for example 2024-03-05T12:00:00Z, 2024-03-05T07:00:00-05:00 or 2024-03-05."
        )
    # Local days of the first and the last year may lie a day outside of them in UTC.
    if not MIN_MS - _DAY_MS <= ms < MAX_MS + _DAY_MS:
        raise CalendarError(f"--at {text[:80]!r} is outside the years 1970 to 2100.")
    return ms


def _calendar(
    anchor: str | None, interval: str | None, timezone: str, boundaries: list[str]
) -> tuple[Calendar | BoundaryCalendar, list[str]]:
    """The requested calendar, and how its anchor was interpreted."""
    if boundaries or interval is None:
        calendar = parse_calendar(anchor, interval, timezone, boundaries)
        return calendar, [f"Periods are listed: {len(boundaries)} boundaries, local times in {timezone}."]
    zone(timezone)
    length = parse_interval(interval)
    if anchor is None:
        local, origin = aligned_anchor(length), "no anchor was given, so periods are aligned to the calendar"
    else:
        local, origin = _anchor(anchor, timezone, hours=length.unit == "H")
    return Calendar(local, length, timezone), [f"The anchor is {local.isoformat()} in {timezone}: {origin}."]


def _anchor(text: str, timezone: str, *, hours: bool) -> tuple[datetime, str]:
    """Local time of `--anchor`, and how it was interpreted."""
    if _DATE.fullmatch(text):
        return parse_anchor(text), "local midnight of the date given"
    if not _INSTANT.fullmatch(text):
        return parse_anchor(text), "the local time given"
    instant = _read("anchor", text)
    local = instant.astimezone(zone(timezone)).replace(tzinfo=None)
    if local.microsecond % 1_000 or not MIN_MS <= epoch_ms(instant) < MAX_MS:
        raise CalendarError(f"anchor {text[:80]!r} is outside the years 1970 to 2100, or finer than a millisecond.")
    origin = "the local time at the instant given"
    if local.fold and not hours:
        origin += "; this local time occurs twice and this is the second, but an anchor is a local time: the first"
    return local, origin


def _midnight(name: str, text: str) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise CalendarError(f"{name} {text!r} is not a day of the calendar.") from None
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001 - local, the zone is an argument of its own


def _read(name: str, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise CalendarError(f"{name} {text[:80]!r} is not an instant: {error}.") from None


# --- why --------------------------------------------------------------------------------------------------------------


def _why(calendar: Calendar | BoundaryCalendar, k: int, interval: str) -> Iterator[str]:
    if isinstance(calendar, BoundaryCalendar):
        yield f"This is period {k + 1} of {len(calendar.boundaries) - 1}, from boundary {k + 1} to the next."
    elif calendar.interval.unit == "H":
        hours = calendar.interval.count
        yield f"{interval} is elapsed time, counted from the anchor's instant {rfc3339(calendar.boundary(0))}."
        yield f"This is period {k}: it begins {k * hours} h after that and ends {(k + 1) * hours} h after it."
        return
    else:
        yield f"This is period {k}: it begins {k} x {interval} after the anchor and ends {k + 1} x {interval} after it."
    yield from _adjustments("start", calendar, k)
    yield from _adjustments("end", calendar, k + 1)


def _adjustments(name: str, calendar: Calendar | BoundaryCalendar, k: int) -> Iterator[str]:
    """How a boundary was adjusted, if it was: clamped, moved by a gap, or the first of a repeated time."""
    local = calendar.wall_clock(k)
    if isinstance(calendar, Calendar) and calendar.interval.unit in "MY" and local.day != calendar.anchor.day:
        yield f"{name}: {local:%Y-%m} has no day {calendar.anchor.day}, so it is clamped to {local.date().isoformat()}."
    reading, at = reading_of(local, calendar.timezone), _shown(calendar.boundary(k), calendar.timezone)
    if reading == "skipped":
        yield f"{name}: the clock skips {local.isoformat()}, which moves forward by the gap to {at}."
    elif reading == "repeated":
        yield f"{name}: the clock shows {local.isoformat()} twice; the first is taken, {at}."
