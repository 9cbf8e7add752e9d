"""Another version of the jobs beside the one that runs: switched to under load, and back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jobs.flink.rest import wait_until
from tests.chaos.load import measured, under_load
from tests.integration.serve.test_serve import serving
from tests.ledger_lines import ask, current_differences
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, generate
from tidemark.cli.main import app
from tidemark.core.errors import TidemarkError
from tidemark.core.settings import Settings
from tidemark.live import active_version
from tidemark.oracle.oracle import Oracle
from tidemark.replay.record import run_settings
from tidemark.upgrade import reading
from tidemark.upgrade.begin import begin
from tidemark.upgrade.blue_green import found

pytestmark = pytest.mark.drill

WITHIN_S = 180.0
NEXT = "next"
# Before the periods of all customers, also of those that come later: the times of this stream are long ago.
UPGRADE = ("upgrade", "run", "--id", NEXT, "--from", "2020-01-01T00:00:00Z", "--json")
PROGRAM = "from tidemark.cli.main import main; main()"
PLANTED = """
UPDATE {usage}.usage_period SET total = total + %s WHERE ctid = (
    SELECT ctid FROM {usage}.usage_period WHERE meter = 'tokens' AND total > 0
    ORDER BY tenant_id, customer_id, dims, period_start LIMIT 1
) RETURNING customer_id
"""


def called(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and result of a command; what it raises is raised."""
    done = CliRunner().invoke(app, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, json.loads(done.stdout)


def killed_while_it_starts(run: Pipeline) -> None:
    """Begin the upgrade in a process, and end that with all its children once the replay is recorded."""
    command = [sys.executable, "-c", PROGRAM, *UPGRADE]
    with subprocess.Popen(command, env={**os.environ, **run.settings.environment()}, start_new_session=True) as process:
        wait_until(lambda: found(run.settings, NEXT) is not None, WITHIN_S, "the new version to be recorded")
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


@contextmanager
def ending(beside: Pipeline) -> Iterator[None]:
    """End the jobs of the new version, too."""
    try:
        yield
    finally:
        beside.cancel()


def assert_read(oracle: Oracle, settings: Settings) -> None:
    """What people read becomes what the oracle says, and readers of live counters were pointed to the same version."""
    wait_until(lambda: current_differences(oracle, settings) == [], WITHIN_S, "no row to differ", every_s=1)
    assert not active_version.publish(settings), "readers were pointed to another version"


def test_a_new_version_beside_the_old_one_is_switched_to_and_back_under_load(
    stack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = list(generate(events=6_000, seed=51))
    hasty: dict[str, Any] = {"close.settle_s": 1, "rollup.customer_windows": False}
    with pipeline(stack.settings, "bluegreen", CATALOG, tmp_path, **hasty) as run:
        settings = run.settings
        for name, value in settings.environment().items():
            monkeypatch.setenv(name, value)
        # Given a run under load, of which this version says that each job goes on from its state ...
        run.start()
        with under_load(run, records) as load:
            run.wait_committed(len(records) // 50)
            plan = reading.read(settings, 9_000)
            assert [(plan.run_id, job.way) for job in plan.jobs[:2]] == [(settings.run_id, "restore")] * 2
            assert begin(settings) < datetime.now(UTC)
            # ... when the upgrade is killed, then its repetition goes on, up to the counters that nobody writes yet ...
            with measured("upgrade: killed while it starts"):
                killed_while_it_starts(run)
            with measured("upgrade: repeated, and caught up"), pytest.raises(TidemarkError, match="would not trust it"):
                called(*UPGRADE)
            replay = found(settings, NEXT)
            assert replay is not None
            assert replay.state == "caught_up"
            beside = Pipeline(run_settings(settings, replay), CATALOG)
            with serving(beside.settings, "live", tmp_path / "live.log"), ending(beside):
                wait_until(lambda: not active_version.unready(settings, NEXT), WITHIN_S, "counters of the new version")
                # ... then the new version is switched to, with no line that differs, while events come in ...
                with measured("upgrade: compared and switched under load"):
                    code, result = called(*UPGRADE)
                assert (code, result["switched"], result["differing"]) == (0, True, [])
                assert load.is_alive(), "all was sent before the switch"
                load.finish()
                run.wait_offsets()
                beside.wait_offsets()
                with run.oracle() as oracle:
                    # ... people read what the oracle says, and all of the new version is that ...
                    assert_read(oracle, settings)
                    beside.assert_exact(oracle)
                    plan = reading.read(settings, 9_000)
                    assert [(plan.run_id, job.way) for job in plan.jobs[:2]] == [
                        (beside.settings.run_id, "restore")
                    ] * 2
                    # ... also from the old one, back.
                    with measured("upgrade: back"):
                        assert called("replay", "revert", NEXT, "--json") == (
                            0, {"replay_id": NEXT, "changed": True, "closes": 0, "corrections": 0},
                        )  # fmt: skip
                    assert_read(oracle, settings)
                    run.assert_exact(oracle)
                # Given a version that is wrong in one line, then it is named and nothing is switched.
                ((customer,),) = ask(beside.settings, PLANTED.replace("%s", "1"))
                code, result = called(*UPGRADE)
                assert (code, result["switched"]) == (4, False)
                assert {line["customer_id"] for line in result["differing"]} == {customer}
                ask(beside.settings, PLANTED.replace("%s", "-1"))
                # Given a right one again, then the same command switches a second time, and once it has, nothing more.
                for state in ("caught_up or reverted", "promoted"):
                    assert called(*UPGRADE)[0] == 0, state
                with run.oracle() as oracle:
                    assert_read(oracle, settings)
