"""A Flink client with the connector jars on its class path; the jars are fetched once a machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from pyflink.table import TableEnvironment

from infra.local.progress import Silent
from infra.local.provision import provision
from tests.flink.environment import new_environment


@pytest.fixture(scope="session", autouse=True)
def flink_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point PyFlink at its own jars and the connectors, before its JVM starts."""
    jars = provision(Silent()).flink_jars
    spec = find_spec("pyflink")
    assert spec is not None
    assert spec.submodule_search_locations
    home = Path(spec.submodule_search_locations[0])
    lib = tmp_path_factory.mktemp("flink-lib")
    for jar in (*home.joinpath("lib").glob("*.jar"), *Path(jars).glob("*.jar")):
        lib.joinpath(jar.name).symlink_to(jar)
    before = dict(os.environ)
    # No plan is without a folder for its checkpoints; none is written here.
    state = {"TIDEMARK_FLINK__STATE_DIR": tmp_path_factory.mktemp("state").as_uri()}
    os.environ.update(FLINK_HOME=str(home), FLINK_LIB_DIR=str(lib), **state)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def env() -> TableEnvironment:
    """A table environment of its own."""
    return new_environment()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """PyFlink leaves the pipes to its JVM open; the warning comes up in whichever of these tests collects them."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))
