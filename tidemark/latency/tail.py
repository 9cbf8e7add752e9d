"""Reads what `meter` wrote last, and single events, over one kept consumer."""

from __future__ import annotations

from typing import Any

from tidemark.core.kafka import Record, clients, read_range
from tidemark.core.settings import Settings
from tidemark.latency.sample import Delta, delta_of

# Of each partition; at thousands of deltas a second that is what came in the last second.
MOST_DELTAS = 1_000
_FETCH_BYTES = 512 * 1_024


class Tail:
    """The end of the topic of deltas of a run, as it moves on.

    Parameters
    ----------
    settings:
        Kafka and the run.

    Raises
    ------
    UnavailableError
        Kafka does not answer, or a topic does not exist.
    """

    def __init__(self, settings: Settings) -> None:
        self._kafka = settings.kafka
        self._topic = settings.names.deltas
        self._ends: dict[Any, int] = {}
        with clients.translated(self._kafka):
            # What is counted is shown before it is committed.
            self._consumer = clients.consumer(
                self._kafka, isolation_level="read_uncommitted", auto_offset_reset="earliest",
                max_partition_fetch_bytes=_FETCH_BYTES,
            )  # fmt: skip

    def new(self) -> list[Delta]:
        """Deltas since the last call, the last of each partition if they are many; none in the first call."""
        with clients.translated(self._kafka):
            parts = clients.partitions(self._consumer, self._topic)
            ends = self._consumer.end_offsets(parts)
            starts = {part: max(self._ends.get(part, end), end - MOST_DELTAS) for part, end in ends.items()}
            records = [record for part in parts for record in self._range(part, starts[part], ends[part])]
            self._ends = ends
        made = (delta_of(one.partition, one.offset, one.timestamp_ms, one.value) for one in records)
        return [delta for delta in made if delta is not None]

    def event(self, delta: Delta) -> Record | None:
        """The last event in a delta; None where Kafka no longer has it."""
        with clients.translated(self._kafka):
            parts = clients.partitions(self._consumer, delta.source_topic)
            part = next((one for one in parts if one.partition == delta.source_partition), None)
            if part is None or self._consumer.beginning_offsets([part])[part] > delta.source_offset:
                return None
            return next(iter(self._range(part, delta.source_offset, delta.source_offset + 1)), None)

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()

    def _range(self, part: Any, start: int, end: int) -> list[Record]:
        if start >= end:
            return []
        self._consumer.assign([part])
        return list(read_range(self._consumer, part, start, end))
