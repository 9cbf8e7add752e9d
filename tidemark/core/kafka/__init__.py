"""Kafka for the tools: one place that makes clients and knows security; records in and out; offsets of groups."""

from tidemark.core.kafka.clients import STALL_S
from tidemark.core.kafka.groups import GroupOffsets, committed_offsets
from tidemark.core.kafka.records import (
    Isolation,
    RawRecord,
    Record,
    dump,
    end_offsets,
    ends_of,
    last_header,
    last_records,
    offsets_at,
    position,
    read_one,
    read_range,
    read_ranges,
    was_written,
)
from tidemark.core.kafka.sender import FLUSH_EVERY, Headers, Sender

__all__ = [
    "FLUSH_EVERY",
    "STALL_S",
    "GroupOffsets",
    "Headers",
    "Isolation",
    "RawRecord",
    "Record",
    "Sender",
    "committed_offsets",
    "dump",
    "end_offsets",
    "ends_of",
    "last_header",
    "last_records",
    "offsets_at",
    "position",
    "read_one",
    "read_range",
    "read_ranges",
    "was_written",
]
