"""Compiled plans: several INSERTs become one job, with stable operator ids and a state TTL per operator."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pyflink.table import TableEnvironment, TableResult

from tidemark.core.errors import TidemarkError

# Says the TTL in milliseconds of one stateful node of the plan, or None to keep the job's own.
TtlRule = Callable[[dict[str, Any]], int | None]


def compile_plan(env: TableEnvironment, inserts: Sequence[str]) -> dict[str, Any]:
    """The plan of one job that runs all `inserts`; operators they share are in it once."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "plan.json")
        # IDENTIFIER keeps table options, and so addresses, out of the plan.
        env.get_config().set("table.plan.compile.catalog-objects", "IDENTIFIER")
        body = ";\n".join(inserts)
        env.execute_sql(f"COMPILE PLAN 'file://{file}' FOR STATEMENT SET BEGIN\n{body};\nEND")
        return from_one(json.loads(file.read_text(encoding="utf-8")))


def from_one(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan with ids from one on, whatever its process has planned before: state is found by them."""
    before = min(node["id"] for node in plan["nodes"]) - 1
    for node in plan["nodes"]:
        node["id"] -= before
    for edge in plan["edges"]:
        edge["source"] -= before
        edge["target"] -= before
    return plan


def execute_plan(env: TableEnvironment, plan: dict[str, Any]) -> TableResult:
    """Submit the job of a plan; returns without waiting for it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "plan.json")
        file.write_text(json.dumps(plan), encoding="utf-8")
        return env.execute_sql(f"EXECUTE PLAN 'file://{file}'")


def with_ttls(plan: dict[str, Any], rules: Iterable[TtlRule]) -> dict[str, Any]:
    """Set the TTL of each stateful node that a rule names.

    Raises
    ------
    TidemarkError
        When a rule matches no node: the planner has changed, and the state would live for the wrong time unnoticed.
    """
    nodes = [node for node in plan["nodes"] if node.get("state")]
    for index, rule in enumerate(rules):
        matched = [(node, ttl_ms) for node in nodes if (ttl_ms := rule(node)) is not None]
        if not matched:
            raise TidemarkError(
                f"state TTL rule {index} matches none of the plan's {len(nodes)} stateful operators.",
                "compare jobs/meter/job.py and jobs/rollup/job.py with the plan of this Flink version.",
            )
        for node, ttl_ms in matched:
            for state in node["state"]:
                state["ttl"] = f"{ttl_ms} ms"
    return plan
