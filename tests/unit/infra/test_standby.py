"""Two JobManagers of a local stack: programs, ports and options of each way to elect the one that leads."""

from __future__ import annotations

import base64
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from infra.local import standby
from infra.local.account import Account
from infra.local.configure import write_configuration
from infra.local.paths import Paths
from infra.local.ports import choose_ports, read_ports
from infra.local.programs import SERVICES, Program, high_availability_of, programs, services_of
from infra.local.provision import Provisioned
from infra.local.stack import Stack
from infra.service_settings import STANDARD_PORTS
from tidemark.cli.main import app
from tidemark.core.errors import UsageError
from tidemark.core.settings import FILE_ENV, HighAvailabilitySettings


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "stack").mkdir()
    return Paths.of(tmp_path / "stack")


def made(paths: Paths, tmp_path: Path, **ha: Any) -> tuple[dict[str, Any], dict[str, Program]]:
    """Flink's configuration and the programs of a stack with such settings."""
    jars = tmp_path / "jars"
    jars.mkdir(exist_ok=True)
    parts = Provisioned(tmp_path / "rootfs", jars, jars, jars, jars)
    paths.settings.write_text(yaml.safe_dump({"ha": ha}))
    ports = choose_ports(paths.ports, prefer_standard=False, more=standby.ports(high_availability_of(paths)))
    write_configuration(paths, parts, ports)
    config: dict[str, Any] = yaml.safe_load((paths.conf / "flink/config.yaml").read_text())
    return config, {program.name: program for program in programs(paths, parts, ports)}


def options(program: Program) -> dict[str, int]:
    words = program.command
    given = [words[place + 1] for place, word in enumerate(words) if word == "-D"]
    return {name: int(value) for name, value in (one.split("=") for one in given)}


def kubernetes(folder: Path) -> Path:
    (folder / "ca.crt").write_text("a certificate")
    cluster = {"server": "https://127.0.0.1:6443", "certificate-authority": str(folder / "ca.crt")}
    document = {
        "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": {"token": "a-token"}}]
    }  # fmt: skip
    file = folder / "config"
    file.write_text(yaml.safe_dump(document))
    return file


def test_a_stack_has_one_job_manager_where_nothing_is_said(paths: Paths, tmp_path: Path) -> None:
    config, every = made(paths, tmp_path)
    assert not [name for name in config if name.startswith(("high-availability", "kubernetes"))]
    assert standby.SECOND not in every
    assert services_of(paths) == SERVICES
    assert set(read_ports(paths.ports) or {}) == set(STANDARD_PORTS)


def test_zookeeper_is_started_and_elects_one_of_two_with_ports_of_their_own(paths: Paths, tmp_path: Path) -> None:
    config, every = made(paths, tmp_path, mode="zookeeper", failover_s=6)
    ports = read_ports(paths.ports) or {}
    prefix = "high-availability.zookeeper"
    assert config["high-availability.type"] == "zookeeper"
    assert config["high-availability.storageDir"] == f"{(paths.data / 'flink').as_uri()}/ha"
    assert config[f"{prefix}.quorum"] == f"127.0.0.1:{ports['zookeeper']}"
    assert config[f"{prefix}.client.session-timeout"] == "6s"
    assert set(services_of(paths)) == {*SERVICES, standby.SECOND, standby.ZOOKEEPER}
    first, second = options(every["jobmanager"]), options(every[standby.SECOND])
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())
    assert first["rest.port"] == ports["flink_rest"]
    properties = (paths.conf / "zookeeper.cfg").read_text()
    assert "clientPortAddress=127.0.0.1\n" in properties
    # It grants no longer session than this, and by itself less than is asked for: 20 ticks.
    assert "maxSessionTimeout=6000\n" in properties


def test_ports_of_a_stack_stay_when_a_standby_is_added(paths: Paths, tmp_path: Path) -> None:
    made(paths, tmp_path)
    before = read_ports(paths.ports) or {}
    made(paths, tmp_path, mode="zookeeper")
    after = read_ports(paths.ports) or {}
    assert before.items() <= after.items()
    assert after.keys() - before.keys() == {*standby.SECOND_PORTS, *standby.ZOOKEEPER_PORTS}


def test_another_zookeeper_is_used_and_none_started(paths: Paths, tmp_path: Path) -> None:
    elsewhere = {"zookeeper": "zk-1:2181,zk-2:2181", "storage_dir": "s3://bucket/ha", "cluster_id": "blue"}
    config, every = made(paths, tmp_path, mode="zookeeper", **elsewhere)
    assert config["high-availability.zookeeper.quorum"] == "zk-1:2181,zk-2:2181"
    assert config["high-availability.storageDir"] == "s3://bucket/ha"
    assert config["high-availability.cluster-id"] == "/blue"
    assert standby.ZOOKEEPER not in every


def test_a_kubernetes_api_elects_by_credentials_that_the_services_alone_read(paths: Paths, tmp_path: Path) -> None:
    config, every = made(paths, tmp_path, mode="kubernetes", kubeconfig=str(kubernetes(tmp_path)), failover_s=10)
    Account.of(paths.root).settle(paths)
    prefix = "high-availability.kubernetes.leader-election"
    times = [config[f"{prefix}.{name}"] for name in ("lease-duration", "renew-deadline", "retry-period")]
    assert times == ["10s", "8000ms", "1500ms"]
    assert config["kubernetes.config.file"] == str(paths.kubeconfig)
    assert {standby.SECOND, "jobmanager"} <= every.keys()
    written = yaml.safe_load(paths.kubeconfig.read_text())
    assert written["clusters"][0]["cluster"] == {
        "server": "https://127.0.0.1:6443",
        "certificate-authority-data": base64.b64encode(b"a certificate").decode(),
    }
    assert stat.S_IMODE(paths.kubeconfig.stat().st_mode) == 0o600
    assert "a-token" not in (paths.conf / "flink/config.yaml").read_text()


def test_credentials_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("not: one")
    with pytest.raises(UsageError, match=r"ha\.kubeconfig .*config cannot be read"):
        standby.kubeconfig(tmp_path / "config")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"mode": "kubernetes"}, "needs kubeconfig"),
        ({"kubeconfig": "/etc/kubeconfig"}, "kubeconfig without effect"),
        ({"zookeeper": "zk:2181"}, "zookeeper without effect"),
        ({"mode": "zookeeper", "failover_s": 3}, "failover_s"),
    ],
)
def test_settings_that_mean_nothing_together_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        HighAvailabilitySettings(**wrong)


def test_an_election_by_a_wrong_file_is_refused_before_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stack, "up", lambda *_, **__: pytest.fail("started"))
    (tmp_path / "none").write_text("not: one")
    (folder := tmp_path / "with space").mkdir()
    for file, why in ((tmp_path / "none", "cannot be read"), (kubernetes(folder), r"ha\.kubeconfig: has a character")):
        with pytest.raises(UsageError, match=why):
            app(
                ["up", "--ha", "kubernetes", "--kubeconfig", str(file), "--state-dir", str(tmp_path / "stack")],
                standalone_mode=False,
            )
    assert not (tmp_path / "stack").exists()


def test_an_election_that_contradicts_the_settings_is_refused_before_it_is_kept(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stack, "up", lambda *_, **__: pytest.fail("started"))
    monkeypatch.setenv(FILE_ENV, "")
    Stack(paths).add_settings({"ha.mode": "zookeeper", "ha.zookeeper": "zk:2181"})
    before, elected = paths.settings.read_text(), ["--ha", "kubernetes", "--kubeconfig", str(kubernetes(tmp_path))]
    with pytest.raises(UsageError, match="zookeeper without effect"):
        app(["up", *elected, "--state-dir", str(paths.root)], standalone_mode=False)
    assert paths.settings.read_text() == before


def test_an_election_without_credentials_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(UsageError, match="name one by --kubeconfig"):
        app(["up", "--ha", "kubernetes", "--state-dir", str(tmp_path / "stack")], standalone_mode=False)
    assert not (tmp_path / "stack").exists()
