"""Runs the warm-up of `meter`: a TaskManager that was just started is slow until it has compiled the job."""

from __future__ import annotations

import time
from pathlib import Path

from jobs.flink import submit
from jobs.flink.rest import ENDED, FlinkRest, short_cause, wait_until
from tidemark.core.errors import TidemarkError
from tidemark.core.settings import Settings

# In the place of a job's name.
NAME = "warm-up"
# A slow machine is as warm as it gets by then.
LONGEST_S = 30.0
_START_S = 60
_SCRIPT = Path(__file__).parents[1] / "meter" / "warm_up.py"


def warm_up(settings: Settings, longest_s: float = LONGEST_S) -> float:
    """Run it until it ends, or for so long once it runs; seconds it took with its start.

    Raises
    ------
    TidemarkError
        It failed, with the root cause that Flink knows, or could not be started or ended.
    """
    begun = time.monotonic()
    rest = FlinkRest(settings.flink)
    job_id = submit.flink_run(settings, _SCRIPT, ["--run-id", settings.run_id])

    def state() -> str:
        return str(rest.details(job_id)["state"])

    wait_until(lambda: state() in {"RUNNING", *ENDED}, _START_S, "the warm-up to begin")
    end = time.monotonic() + longest_s
    while state() not in ENDED and time.monotonic() < end:
        time.sleep(0.25)
    rest.end(job_id)
    if state() == "FAILED":
        raise TidemarkError(
            f"the warm-up of meter failed: {short_cause(rest.root_cause(job_id))}",
            "submit without --warm-up: it only makes the first seconds faster.",
        )
    return time.monotonic() - begun
