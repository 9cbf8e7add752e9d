"""Flink's own metrics: a JobManager with the reporter of its distribution answers Prometheus."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import requests

from infra.local import flink_conf
from infra.local.configure import write_configuration
from infra.local.paths import Paths
from infra.local.ports import choose_ports
from infra.local.programs import FLINK_HOME, base_environment, flink_environment
from infra.local.provision import locations
from jobs.flink.rest import wait_until

READY_S = 120.0


def test_a_process_of_flink_answers_prometheus(tmp_path: Path) -> None:
    paths = Paths.of(tmp_path / "stack")
    paths.root.mkdir()
    ports = choose_ports(paths.ports, prefer_standard=False)
    write_configuration(paths, locations(), ports, flink_metrics=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = paths.conf / "flink/config.yaml"
    config.write_text(config.read_text().replace(flink_conf.METRICS_PORTS, str(port)))
    command = [str(FLINK_HOME / "bin/jobmanager.sh"), "start-foreground"]
    environment = {**base_environment(), **flink_environment(paths), "PYTHON": sys.executable}
    with (tmp_path / "jobmanager.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
    try:
        wait_until(lambda: "flink_jobmanager_numRegisteredTaskManagers" in scraped(port), READY_S, "Flink's metrics")
        assert "flink_jobmanager_Status_JVM_CPU_Load" in scraped(port)
    finally:
        process.terminate()
        process.wait(30)


def scraped(port: int) -> str:
    try:
        return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    except requests.ConnectionError:
        return ""
