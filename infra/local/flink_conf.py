"""Fills in infra/flink/config.yaml, for the local stack or the image (`python -m infra.local.flink_conf SHIPPED`)."""

from __future__ import annotations

import sys
from pathlib import Path
from string import Template
from typing import Any

import yaml

from infra.service_settings import STANDARD_PORTS
from tidemark.core.settings import S3Settings

# JobManager and TaskManager of one machine take two of them. The first is Flink's own default.
METRICS_PORTS = "9249-9259"
TEMPLATE = Path(__file__).parents[1] / "flink" / "config.yaml"


def shipped_java_opens(config: Path) -> str:
    """Read the exports and opens Flink ships with from its own config.yaml, so that they are this version's."""
    shipped: dict[str, Any] = yaml.safe_load(config.read_text())
    return str(shipped["env"]["java"]["opts"]["all"])


def render(shipped: Path, values: dict[str, str | int]) -> str:
    """Fill in the configuration; a name that is left without a value is an error.

    Parameters
    ----------
    shipped:
        Flink's own config.yaml.
    values:
        Ports by name, `bind_host`, `jobmanager_host`, `taskmanager_host` (a line or empty), `state_uri`, `work_dir`,
        `python`, `metrics` (lines of `reporter`, or empty), `security` (lines of TLS, or empty), `rest_scheme`,
        `s3` (lines of `object_store`, or empty), `ha` (lines of a standby JobManager, or empty).

    """
    return Template(TEMPLATE.read_text()).substitute(values, java_opens=shipped_java_opens(shipped))


def reporter(ports: str) -> str:
    """Lines that make each process of Flink answer Prometheus on the first free port of a range, on all interfaces.

    The plugin is part of Flink's distribution. It has no option for an address.
    """
    return (
        "metrics.reporters: prom\n"
        "metrics.reporter.prom.factory.class: org.apache.flink.metrics.prometheus.PrometheusReporterFactory\n"
        f"metrics.reporter.prom.port: {ports}"
    )


def object_store(s3: S3Settings) -> str:
    """Lines by which Flink's plugin reaches S3; keys are not among them: its environment names their file."""
    lines = [
        "s3.aws.credentials.provider: com.amazonaws.auth.DefaultAWSCredentialsProviderChain",
        # Stores that are folders underneath refuse to delete the marker of one that is not empty.
        "s3.directory.marker.retention: keep",
    ]
    if s3.region:
        lines.append(f"s3.endpoint.region: {s3.region}")
    if s3.endpoint:
        lines += [f"s3.endpoint: {s3.endpoint}", "s3.path.style.access: true"]
    return "\n".join(lines)


def metrics_ports(config: Path) -> range:
    """Ports on which Flink was asked to answer Prometheus; empty where it was not."""
    values: dict[str, Any] = yaml.safe_load(config.read_text())
    first, _, last = str(values.get("metrics.reporter.prom.port", "0-0")).partition("-")
    return range(int(first), int(last) + 1) if int(first) else range(0)


def image_values() -> dict[str, str | int]:
    """Values for compose: standard ports, hosts by service name."""
    return {
        **STANDARD_PORTS,
        "bind_host": "0.0.0.0",  # noqa: S104 - inside its own container; compose publishes on 127.0.0.1
        "jobmanager_host": "jobmanager",
        "taskmanager_host": "",
        "state_uri": "file:///var/lib/tidemark",
        "work_dir": "/tmp/tidemark",  # noqa: S108 - inside the container
        "python": "/usr/local/bin/python",
        # Each in a container of its own; compose does not publish it.
        "metrics": reporter(METRICS_PORTS),
        # docs/security.md has the lines for TLS; the network of the containers is theirs alone.
        "security": "",
        "rest_scheme": "http",
        # Where state is in S3, the environment of the containers says more.
        "s3": object_store(S3Settings()),
        # As said by what runs the containers: the chart does.
        "ha": "",
    }


if __name__ == "__main__":
    sys.stdout.write(render(Path(sys.argv[1]), image_values()))
