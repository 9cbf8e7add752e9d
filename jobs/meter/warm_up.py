"""Warm-up of `meter`: its operators at work on made-up events, so that a TaskManager has compiled them when it begins.

Nothing of it leaves Flink: the source makes the events, the sinks forget what they get, and no store is asked.
"""

from __future__ import annotations

from typing import Any

from pyflink.table import TableEnvironment

from jobs.flink.bounds import Bounds
from jobs.flink.entry import run
from jobs.flink.plans import compile_plan
from jobs.flink.statements import statement
from jobs.flink.warm_up import NAME
from jobs.meter import job
from tidemark.core.policy import policy_of
from tidemark.core.settings import Settings
from udfs.catalog.model import InMemoryCatalogSource, Tenant
from udfs.flink import MadeUpCatalog, SwallowLive, decode_events, publish_live
from udfs.meters.meter import Meter

# What a TaskManager of two cores works off in about 20 s.
EVENTS = 400_000
TENANT, COUNTED, SUMMED = "warm-up", "counted", "summed"
CATALOG = InMemoryCatalogSource(
    [Tenant(TENANT)], [Meter(COUNTED, (COUNTED,), "count"), Meter(SUMMED, (SUMMED,), "sum")]
)


def plan(env: TableEnvironment, settings: Settings, bounds: Bounds) -> dict[str, Any]:
    """The plan of `meter` between another source and other sinks."""
    job.configure(env, settings, NAME)
    # It ends by itself, and nobody restores it.
    env.get_config().set("execution.checkpointing.externalized-checkpoint-retention", "DELETE_ON_CANCELLATION")
    values = job.template_values(settings, bounds) | {"reevaluation_rows": ""}
    made_up = {"tenant": TENANT, "counted": COUNTED, "summed": SUMMED, "events": EVENTS, "batch": EVENTS // 4}
    decoder = MadeUpCatalog(policy_of(settings), CATALOG, job.batches(settings, bounds))
    env.create_temporary_function("decode_events", decode_events(decoder))
    env.create_temporary_function("publish_live", publish_live(SwallowLive()))
    env.execute_sql(statement("meter", "made_up_events", **made_up))
    job.declare_views(env, values)
    job.declare_sinks(env, settings)
    for sink in job.SINKS:
        env.execute_sql(statement("meter", "swallowed", sink=f"{sink}_sink"))
    return compile_plan(env, job.inserts(settings, into="swallowed_"))


if __name__ == "__main__":
    run(plan)
