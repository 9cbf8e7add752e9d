"""Records that Kafka removed before a job read them: a job that read on after them would be wrong in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tidemark.core.errors import TidemarkError
from tidemark.core.kafka import committed_offsets, offsets_at
from tidemark.core.settings import Settings

# What `submit --accept` takes for going on without them.
REMOVED = "removed_records"


@dataclass(frozen=True, slots=True)
class Removed:
    """Records of a partition that are gone: offsets from the position of a job up to the first that is there."""

    topic: str
    partition: int
    position: int
    first: int

    def __str__(self) -> str:
        count = self.first - self.position
        return f"{self.topic}, partition {self.partition}: {count:,} from offset {self.position} on"


def removed(topic: str, positions: Mapping[int, int], begins: Mapping[int, int]) -> list[Removed]:
    """What lies between the next offset to read and the first one there is, by partition."""
    return [
        Removed(topic, partition, position, begins[partition])
        for partition, position in sorted(positions.items())
        if position < begins.get(partition, 0)
    ]


def check_positions(settings: Settings, job: str) -> None:
    """Refuse to go on where records are missing that the job has not read.

    Positions are those that its last checkpoints committed. State that is older than they are is refused by the job
    itself, which ends when it gets there.

    Raises
    ------
    TidemarkError
        Names topic, partition, how many and from where.
    """
    lost = [one for group, topic in sources(settings, job) for one in _removed(settings, group, topic)]
    if lost:
        lines = "".join(f"\n  {one}" for one in dict.fromkeys(lost))
        raise TidemarkError(
            f"Kafka removed records that {job} has not read:{lines}",
            "rebuild by a replay, from the archive where it has them (--from-archive); or go on without them: "
            f"--accept {REMOVED}.",
        )


def _removed(settings: Settings, group: str, topic: str) -> list[Removed]:
    positions = committed_offsets(settings.kafka, settings.names.group(group), topic)
    return removed(topic, positions, offsets_at(settings.kafka, topic, None)) if positions else []


def sources(settings: Settings, job: str) -> Iterator[tuple[str, str]]:
    """Groups and the topics that they read."""
    names = settings.names
    if job == "meter":
        yield from (("meter", topic) for topic in (settings.topics.events, settings.topics.redrive))
    elif job == "rollup":
        yield from ((f"rollup-{source}", names.deltas) for source in ("deltas_for_totals", "deltas_for_sliding"))
    else:
        yield from ((job, topic) for topic in (names.deltas, names.dlq))
