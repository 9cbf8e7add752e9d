"""A plan is the same whatever its process has planned before."""

from __future__ import annotations

from typing import Any

from jobs.flink.plans import from_one


def plan(first: int) -> dict[str, Any]:
    """Three operators, the middle one of which the planner took for its own and left out."""
    nodes = [{"id": first, "type": "scan"}, {"id": first + 2, "type": "aggregate"}, {"id": first + 3, "type": "sink"}]
    edges = [{"source": first, "target": first + 2}, {"source": first + 2, "target": first + 3}]
    return {"nodes": nodes, "edges": edges}


def test_ids_of_a_later_plan_are_those_of_the_first_one() -> None:
    assert from_one(plan(188)) == plan(1)


def test_ids_of_the_first_plan_stay() -> None:
    assert from_one(plan(1)) == plan(1)
