"""The operators of each job, by the plan that this version makes of it."""

from __future__ import annotations

from pyflink.table import EnvironmentSettings, TableEnvironment

from jobs.anomaly import job as anomaly
from jobs.flink.bounds import Bounds
from jobs.meter import job as meter
from jobs.rollup import job as rollup
from jobs.upgrade.operators import number_from_one, of_graph, of_plan
from tidemark.core.settings import Settings

_PLANNERS = {"meter": meter.plan, "rollup": rollup.plan}


def operators(job: str, settings: Settings) -> dict[str, str]:
    """Names of the operators of a job that runs without an end, by id."""
    return _of_anomaly(settings) if job == anomaly.JOB else _of_sql(job, settings)


def _of_sql(job: str, settings: Settings) -> dict[str, str]:
    env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    return of_plan(env, _PLANNERS[job](env, settings, Bounds()))


def _of_anomaly(settings: Settings) -> dict[str, str]:
    env = anomaly.environment()
    number_from_one(env)
    anomaly.build(env, settings, Bounds()).attach_as_datastream()
    return of_graph(env._j_tenv.execEnv().getStreamGraph().getJobGraph())  # noqa: SLF001 - of PyFlink
