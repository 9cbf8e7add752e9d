"""Named SQL statements: one file of a job is one statement; its values are filled in by name."""

from __future__ import annotations

from importlib.resources import files
from string import Template


def statement(job: str, name: str, **values: object) -> str:
    """The text of `jobs/{job}/{name}.sql` with `$values` filled in.

    Raises
    ------
    KeyError
        When the statement asks for a value that was not given.
    """
    text = files(f"jobs.{job}").joinpath(f"{name}.sql").read_text(encoding="utf-8")
    return Template(text).substitute({key: str(value) for key, value in values.items()}).strip()


def interval(seconds: float) -> str:
    """A Flink interval literal; day to second, because a literal may have at most three digits in front."""
    millis = round(seconds * 1_000)
    minutes, rest_ms = divmod(millis, 60_000)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return f"INTERVAL '{day} {hour:02}:{minute:02}:{rest_ms // 1_000:02}.{rest_ms % 1_000:03}' DAY(3) TO SECOND(3)"
