"""The process behind `WarmClient`: runs the programs of jobs one after another in one Flink client."""

from __future__ import annotations

import json
import os
import runpy
import sys
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from pyflink.common import Configuration
from pyflink.java_gateway import get_gateway
from pyflink.table import EnvironmentSettings

ANSWER = "answer: "
# Functions run in workers of the TaskManager; else PyFlink takes the cluster for its own and runs them here.
WORKERS = {"_python_worker_execution_mode": "process"}


def serve() -> None:
    """Run the program of each request on standard input; the answer is an empty text, or the error."""
    for line in sys.stdin:
        request = json.loads(line)
        os.environ.clear()
        os.environ.update(request["environment"] | WORKERS)
        sys.argv = [request["script"], *request["arguments"]]
        remote = remote_settings(request)
        error = ""
        try:
            # Outside `flink run` a job would get a cluster inside its client.
            with patch.object(EnvironmentSettings, "in_streaming_mode", lambda remote=remote: remote):
                runpy.run_path(request["script"], run_name="__main__")
        except Exception as raised:  # noqa: BLE001 - whatever went wrong is the answer
            error = f"{type(raised).__name__}: {raised}"
        print(ANSWER + json.dumps(error), flush=True)  # noqa: T201


def remote_settings(request: dict[str, Any]) -> EnvironmentSettings:
    """The options of `flink run`: those of the configuration, the cluster, and the state to restore."""
    address = urlsplit(request["rest"])
    loaded = get_gateway().jvm.org.apache.flink.configuration.GlobalConfiguration.loadConfiguration()
    where = {"execution.target": "remote", "rest.address": address.hostname, "rest.port": address.port}
    options = dict(loaded.toMap()) | where
    if request["restore"]:
        options["execution.state-recovery.path"] = request["restore"]
    configuration = Configuration()
    for name, value in options.items():
        configuration.set_string(name, str(value))
    return EnvironmentSettings.Builder().in_streaming_mode().with_configuration(configuration).build()


if __name__ == "__main__":
    serve()
