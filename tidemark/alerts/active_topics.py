"""The topics of alerts of a run, and of the replays that are active for it, read as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tidemark.alerts.active_runs import ActiveReplay
from tidemark.alerts.topic import AlertTopic, Position
from tidemark.core.settings import Settings

# For the topic of a promoted replay, beside the own one.
REPLAY_POLL_MS = 50

# Next offset by topic and partition.
Offsets = dict[str, dict[int, int]]
# A record, and the run in whose topic it is.
Polled = tuple[str, Position, bytes]


class ActiveTopics:
    """Readers of the topics, each opened when its run becomes active and closed when it no longer is.

    Parameters
    ----------
    settings:
        Kafka, and the run whose ledger it is.
    offsets:
        Where to go on in a topic: next offset by partition.
    """

    def __init__(self, settings: Settings, offsets: Callable[[str], Mapping[int, int]]) -> None:
        self._settings = settings
        self._offsets = offsets
        self._topics: dict[str, AlertTopic] = {}

    def open(self, replays: Sequence[ActiveReplay]) -> None:
        """Read the topics of this run and of these replays, and no others; raises UnavailableError."""
        run_ids = [self._settings.run_id, *(one.run_id for one in replays)]
        for run_id in [one for one in self._topics if one not in run_ids]:
            self._topics.pop(run_id).close()
        for run_id in run_ids:
            if run_id not in self._topics:
                run = self._settings.with_changes({"run_id": run_id})
                self._topics[run_id] = AlertTopic(run.kafka, run.names.alerts, self._offsets(run.names.alerts))

    def poll(self, poll_ms: int) -> list[Polled]:
        """Records that came, waiting for `poll_ms` at most, and a little for each replay; raises UnavailableError."""
        own = self._settings.run_id
        polled = {run: topic.poll(poll_ms if run == own else REPLAY_POLL_MS) for run, topic in self._topics.items()}
        return [(run, position, payload) for run, records in polled.items() for position, payload in records]

    def ends(self) -> Offsets:
        """Next offsets after all that `poll` returned; raises UnavailableError."""
        return {topic.name: topic.offsets() for topic in self._topics.values()}

    def close(self) -> None:
        """Leave the brokers."""
        for topic in self._topics.values():
            topic.close()
        self._topics = {}
