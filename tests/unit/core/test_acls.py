"""Rights by role: what the file grants, by the names of a run."""

from __future__ import annotations

import pytest

from tidemark.core.acls import Right, rights
from tidemark.core.settings import Settings

LIVE = Settings(topics={"events": "billing.usage"})


def granted(role: str, operation: str, settings: Settings = LIVE) -> set[str]:
    return {right.name for right in rights(settings) if (right.role, right.operation) == (role, operation)}


def test_a_job_reads_and_writes_the_topics_of_its_plan() -> None:
    assert granted("meter", "READ") == {
        "billing.usage", "billing.usage.redrive", "usage.reevaluations", "tidemark-meter",
    }  # fmt: skip
    assert granted("meter", "WRITE") == {"usage.deltas", "usage.dlq", "usage.alerts", "tidemark-meter"}
    assert granted("rollup", "WRITE") == set()


def test_only_meter_writes_what_is_billed() -> None:
    writers = {right.role for right in rights(LIVE) if (right.operation, right.name) == ("WRITE", "usage.deltas")}
    assert writers == {"meter"}


def test_topics_of_a_run_are_given_with_their_prefix_and_those_of_events_alone() -> None:
    run = Settings(run_id="trial")
    assert Right("meter", "WRITE", "TOPIC", "usage.deltas.trial", prefixed=True) in rights(run)
    assert Right("producer", "WRITE", "TOPIC", "usage.events", prefixed=False) in rights(run)
    assert granted("producer", "WRITE", run) == {"usage.events"}


def test_who_submits_a_job_may_see_its_transactions_and_not_end_them() -> None:
    for role in ("services", "operator"):
        assert {"tidemark-meter", "tidemark-anomaly"} <= granted(role, "DESCRIBE")
        assert not {"tidemark-meter", "tidemark-anomaly"} & granted(role, "WRITE")


@pytest.mark.parametrize("role", ["meter", "rollup", "anomaly", "services", "producer", "reader"])
def test_none_but_the_operator_changes_topics(role: str) -> None:
    operations = {right.operation for right in rights(LIVE) if right.role == role}
    assert operations <= {"READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"}
    assert granted("operator", "CREATE") == {"billing.usage", "billing.usage.redrive", "usage."}
