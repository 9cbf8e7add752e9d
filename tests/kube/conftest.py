"""A control plane for the tests of the chart, started once; its programs are built once a machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.kubernetes.cluster import Cluster
from infra.kubernetes.definitions import definitions
from infra.local.progress import Lines

CHART = Path(__file__).parents[2] / "infra/helm/tidemark"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that knows the resources of all operators."""
    with Cluster(tmp_path_factory.mktemp("cluster"), Lines()) as started:
        names = [started.kubectl("create", "--output", "name", "--filename", str(one)) for one in definitions(Lines())]
        started.kubectl("wait", "--for=condition=Established", "--timeout=60s", *"".join(names).split())
        yield started


def values(name: str) -> list[str]:
    """Arguments of Helm for an example."""
    return ["--values", str(CHART / f"examples/{name}.yaml")]


def parsed(text: str) -> list[dict[str, Any]]:
    """The resources of some YAML."""
    return [one for one in yaml.safe_load_all(text) if one]
