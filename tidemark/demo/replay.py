"""Sends the demo's stream; an interrupted run continues where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tidemark.core.errors import UsageError
from tidemark.core.kafka import Sender, last_header
from tidemark.core.settings import Settings
from tidemark.demo.flights import DemoRecord

# Every record carries its place in the stream, so that the topic itself shows where to continue.
SEQ_HEADER = "demo-seq"
_CHUNK = 1_000


def replay(settings: Settings, records: Sequence[DemoRecord], progress: Callable[[int], None] | None = None) -> int:
    """Send the records that the topic does not hold yet, in order, as fast as Kafka accepts them.

    Within a partition Kafka keeps the order of one producer, so the last record of each partition determines what was
    sent before; a second full run sends nothing, and a longer period continues where a shorter one ended.

    Parameters
    ----------
    settings:
        Settings of the target.
    records:
        The whole stream, ordered by `seq`.
    progress:
        Called with the number of records that are in the topic.

    Returns
    -------
    Number of records sent.

    Raises
    ------
    UsageError
        The topic holds another demo stream, or more of this one.
    UnavailableError
        Kafka cannot be reached.

    """
    report = progress or (lambda _: None)
    last = _last_seq(settings, records)
    missing = [record for record in records if record.seq > last.get(record.partition, -1)]
    present = len(records) - len(missing)
    report(present)
    with Sender(settings.kafka) as sender:
        for start in range(0, len(missing), _CHUNK):
            chunk = missing[start : start + _CHUNK]
            _send(settings, sender, chunk)
            report(present + start + len(chunk))
    return len(missing)


def _last_seq(settings: Settings, records: Sequence[DemoRecord]) -> Mapping[int, int]:
    last = {p: int(seq) for p, seq in last_header(settings.kafka, settings.topics.events, SEQ_HEADER).items()}
    for partition, seq in last.items():
        if seq >= len(records):
            raise UsageError(
                f"partition {partition} of {settings.topics.events} ends with record {seq} of the demo, but this "
                f"period has {len(records)}.",
                "run the longer demo again, `DEMO=year make demo`, or remove all with `make clean`.",
            )
        if records[seq].partition != partition:
            raise UsageError(
                f"partition {partition} of {settings.topics.events} ends with record {seq} of another demo stream.",
                "remove it with `tidemark down` and `make clean`, then run the demo again.",
            )
    return last


def _send(settings: Settings, sender: Sender, chunk: Sequence[DemoRecord]) -> None:
    for record in chunk:
        sender.send(
            settings.topics.events, record.value, key=record.key, partition=record.partition,
            timestamp_ms=record.timestamp_ms, headers=[(SEQ_HEADER, str(record.seq).encode())],
        )  # fmt: skip
