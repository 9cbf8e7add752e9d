"""Names of topics, schemas, keys and transactions; a run id gives a replay a set of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tidemark.core.errors import UsageError

# Two underscores are in the run id of a replay and in no other: a replay and a run of the same name are apart.
_REPLAY = "__"
# Where a replay of the live run has the id of the run.
_LIVE = "replay"
_RUN_ID = re.compile(r"(?!.*__)[a-z][a-z0-9_]{0,30}(?<!_)")
# With the longest id of a run, the schemas of a replay have as many characters as Postgres keeps: 63.
_REPLAY_ID = re.compile(r"(?!.*__)[a-z][a-z0-9_]{0,21}(?<!_)")
# What `Names.group` takes for the first topic that each job reads; of `rollup` the source of the stored totals, not of
# the windows.
GROUPS = {"meter": "meter", "rollup": "rollup-deltas_for_totals", "anomaly": "anomaly"}


@dataclass(frozen=True, slots=True)
class Names:
    """Everything the jobs write to, derived from one run id.

    Parameters
    ----------
    run_id:
        Empty for the live run; otherwise a lower-case identifier of at most 31 characters, or what `replay` returns.
        Two runs share the source topic and nothing else, so neither can add to totals whose state belongs to the other.
    """

    run_id: str = ""

    def __post_init__(self) -> None:
        run, _, replay = self.run_id.partition(_REPLAY)
        if replay and _REPLAY_ID.fullmatch(replay) and _RUN_ID.fullmatch(run):
            return
        if self.run_id and (not _RUN_ID.fullmatch(self.run_id) or self.run_id == _LIVE):
            raise UsageError(
                f"run id {self.run_id!r} is not a lower-case identifier of at most 31 characters, or is `{_LIVE}`.",
                "use a to z, digits and single _ between them, a to z first.",
            )

    @property
    def is_replay(self) -> bool:
        """Whether these are the names of a replay."""
        return _REPLAY in self.run_id

    def _topic(self, base: str) -> str:
        return f"{base}.{self.run_id}" if self.run_id else base

    @property
    def deltas(self) -> str:
        """Topic of additive usage changes."""
        return self._topic("usage.deltas")

    @property
    def alerts(self) -> str:
        """Topic of alerts."""
        return self._topic("usage.alerts")

    @property
    def reevaluations(self) -> str:
        """Topic of requests to evaluate a counter against its limits again."""
        return self._topic("usage.reevaluations")

    @property
    def dlq(self) -> str:
        """Topic of events that were not counted, each with its reason."""
        return self._topic("usage.dlq")

    @property
    def usage_schema(self) -> str:
        """Postgres schema of the rollups."""
        return f"usage_{self.run_id}" if self.run_id else "usage"

    @property
    def billing_schema(self) -> str:
        """Postgres schema of closes, corrections and replays of this run, and of the views that follow the switch."""
        return f"billing_{self.run_id}" if self.run_id else "billing"

    @property
    def report_schema(self) -> str:
        """Postgres schema of the views for finance, over those of `billing_schema`."""
        return f"report_{self.run_id}" if self.run_id else "report"

    @property
    def closes(self) -> str:
        """Topic of closed periods."""
        return self._topic("usage.closes")

    @property
    def corrections(self) -> str:
        """Topic of changes of closed periods."""
        return self._topic("usage.corrections")

    def replay(self, replay_id: str) -> str:
        """Run id of a replay of this run.

        Raises
        ------
        UsageError
            The id is not a lower-case identifier of at most 22 characters.
        """
        if not _REPLAY_ID.fullmatch(replay_id):
            raise UsageError(
                f"replay id {replay_id!r} is not a lower-case identifier of at most 22 characters.",
                "use a to z, digits and single _ between them, a to z first.",
            )
        return f"{self.run_id or _LIVE}{_REPLAY}{replay_id}"

    @property
    def redis_prefix(self) -> str:
        """First part of every Redis key, with its colon."""
        return f"usage_{self.run_id}:" if self.run_id else "usage:"

    def job(self, name: str) -> str:
        """Flink job name of `meter`, `rollup` or `anomaly`."""
        return f"tidemark-{name}-{self.run_id}" if self.run_id else f"tidemark-{name}"

    def transactions(self, sink: str) -> str:
        """Kafka transactional id prefix of one sink; unique per sink and run."""
        return f"{self.job('meter')}-{sink}"

    def group(self, name: str) -> str:
        """Kafka consumer group of a job; offsets are committed for monitoring only."""
        return self.job(name)
