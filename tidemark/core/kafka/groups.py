"""What consumer groups have committed."""

from __future__ import annotations

from tidemark.core.kafka import clients
from tidemark.core.kafka.clients import translated
from tidemark.core.settings import KafkaSettings


class GroupOffsets:
    """What a consumer group has committed, over one kept connection (asked for often while pacing)."""

    def __init__(self, kafka: KafkaSettings, group: str, topic: str) -> None:
        self._kafka, self._group, self._topic = kafka, group, topic
        with translated(kafka):
            self._admin = clients.admin_client(kafka)

    def committed(self) -> dict[int, int]:
        """Next offset to read by partition; empty for a group that never committed. Waits as `by_topic` does."""
        return self.by_topic().get(self._topic, {})

    def by_topic(self) -> dict[str, dict[int, int]]:
        """Next offset to read of all topics of the group, by topic and partition; waits for their coordinator."""
        with translated(self._kafka):
            offsets = clients.when_ready(lambda: self._admin.list_group_offsets({self._group: None})[self._group])
        found: dict[str, dict[int, int]] = {}
        for part, offset in offsets.items():
            if offset.offset >= 0:
                found.setdefault(part.topic, {})[part.partition] = offset.offset
        return found

    def close(self) -> None:
        """Close the connection."""
        self._admin.close()


def committed_offsets(kafka: KafkaSettings, group: str, topic: str) -> dict[int, int]:
    """Next offset to read by partition as `group` has committed it; empty for a group that never committed."""
    offsets = GroupOffsets(kafka, group, topic)
    try:
        return offsets.committed()
    finally:
        offsets.close()
