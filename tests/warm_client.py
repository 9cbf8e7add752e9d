"""`flink run` of the tests: one Flink client that stays, where the product starts a new one for each job.

A new client costs about 8 s of processor time, and the suite submits some forty jobs. The program of a job, its options
and its environment are those that `flink run` gets; tests of submitting itself use `flink run`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.local.paths import private
from jobs.flink.rest import FlinkRest, wait_until
from jobs.flink.submit import ALL_JOBS, flink_environment
from jobs.flink.warm_up import NAME as WARM_UP
from tidemark.core.errors import TidemarkError
from tidemark.core.settings import Settings

# As in tests/warm_server.py, which must not be imported here: it imports Flink.
_ANSWER = "answer: "
_MEMORY = "-Xmx1g -XX:+UseSerialGC"


class WarmClient:
    """A process with a Flink client, started by the first submission; `flink_run` stands in for `jobs.flink.submit`'s.

    Parameters
    ----------
    log:
        File for what the process writes to standard error.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def flink_run(
        self, settings: Settings, script: Path, arguments: Sequence[str], restore: str = "", named_as: str = ""
    ) -> str:
        """Run the program of a job as `flink run` does; Flink's id of the job.

        `named_as` says which job's name it has, where its file does not.

        Raises
        ------
        TidemarkError
            With what the program raised.
        """
        request = {
            "environment": flink_environment(settings), "rest": settings.flink.rest_url, "restore": restore,
            "script": str(script), "arguments": list(arguments),
        }  # fmt: skip
        with self._lock:
            error = self._ask(request)
        if error:
            raise TidemarkError(f"`flink run` of {script.name} failed:\n{error}", f"see {self._log}.")
        names = {script.stem.replace("_", "-"), script.parent.name}
        name = named_as or next(name for name in (WARM_UP, *ALL_JOBS) if name in names)
        rest, job_name = FlinkRest(settings.flink), settings.names.job(name)
        wait_until(lambda: rest.active(job_name) is not None, 10, f"{job_name} to be listed")
        job = rest.active(job_name)
        assert job is not None
        return job.id

    def _ask(self, request: dict[str, Any]) -> str:
        if self._process is None:
            self._process = self._start(request["environment"])
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        for line in process.stdout:
            if line.startswith(_ANSWER):
                return str(json.loads(line.removeprefix(_ANSWER)))
        self._process = None
        return f"the client ended with {process.wait()}"

    def _start(self, environment: dict[str, str]) -> subprocess.Popen[str]:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with private(), self._log.open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.warm_server"], cwd=Path(__file__).parents[1], text=True,
                env={**environment, "JVM_ARGS": _MEMORY}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            process, self._process = self._process, None
            process.communicate(timeout=60)
