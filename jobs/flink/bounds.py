"""Where a run begins and ends in its source topic, as Kafka table options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tidemark.core.errors import UsageError
from udfs.values import epoch_ms


@dataclass(frozen=True, slots=True)
class Bounds:
    """A range of a topic; half-open.

    Parameters
    ----------
    start, end:
        Empty start: the beginning; empty end: without end, the live mode. `latest` as an end: what is there when the
        job starts. Otherwise an RFC 3339 instant (compared with the Kafka timestamp), or `partition:offset` pairs with
        `;` between them, for example `0:100;1:250`.
    restored:
        Whether the run goes on from state, which has a position in each partition. A record that Kafka removed before
        it was read then ends the job: with every other way to start, Kafka's client reads on after what is missing.
    """

    start: str = ""
    end: str = ""
    restored: bool = False

    @property
    def bounded(self) -> bool:
        """Whether the run comes to an end by itself."""
        return bool(self.end)

    @property
    def by_offset(self) -> bool:
        """Whether a side is given as offsets, which name places of one topic."""
        return _is_offsets(self.start) or _is_offsets(self.end)

    def options(self) -> str:
        """Kafka table options, each `'key' = 'value'`, with commas between them."""
        pairs = self._startup()
        if self.end == "latest":
            pairs |= {"scan.bounded.mode": "latest-offset"}
        elif self.end:
            pairs |= _side("bounded", self.end)
        return table_options(pairs)

    def _startup(self) -> dict[str, str]:
        if self.restored:
            # The positions are those of the state; a partition that is new to it is read from its beginning.
            return {"scan.startup.mode": "group-offsets", "properties.auto.offset.reset": "none"}
        return _side("startup", self.start) if self.start else {"scan.startup.mode": "earliest-offset"}


def table_options(pairs: Mapping[str, str]) -> str:
    """`'key' = 'value'` lines for a WITH clause; a quote in a value stays part of it."""
    return ",\n    ".join(f"'{key}' = '{_quoted(value)}'" for key, value in pairs.items())


def _quoted(value: str) -> str:
    return value.replace("'", "''")


def _is_offsets(text: str) -> bool:
    return ":" in text and "T" not in text.upper()


def _side(side: str, text: str) -> dict[str, str]:
    if _is_offsets(text):
        try:
            offsets = [tuple(map(int, pair.split(":"))) for pair in text.split(";")]
            listed = ";".join(f"partition:{partition},offset:{offset}" for partition, offset in offsets)
        except ValueError:
            raise _wrong(side, text) from None
        return {f"scan.{side}.mode": "specific-offsets", f"scan.{side}.specific-offsets": listed}
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise _wrong(side, text) from None
    if instant.tzinfo is None:
        raise _wrong(side, text)
    millis = epoch_ms(instant)
    return {f"scan.{side}.mode": "timestamp", f"scan.{side}.timestamp-millis": str(millis)}


def _wrong(side: str, text: str) -> UsageError:
    return UsageError(
        f"{side} bound {text!r} is neither an instant with a zone nor partition:offset pairs.",
        "write for example 2026-01-01T00:00:00Z or 0:100;1:250.",
    )
