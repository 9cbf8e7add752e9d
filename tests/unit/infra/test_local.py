"""The parts of the local stack that need no service: paths, ports, locks, caches, configuration, strays."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import socketserver
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault
from xmlrpc.server import SimpleXMLRPCDispatcher, SimpleXMLRPCRequestHandler

import pytest
import yaml

from infra.local import prepare, probes, standby
from infra.local import provision as provisioning
from infra.local.addresses import settings
from infra.local.configure import write_configuration
from infra.local.flink_conf import METRICS_PORTS
from infra.local.paths import Paths, locked, write_private
from infra.local.ports import choose_ports, is_free, refuse_taken
from infra.local.prepare import write_passfiles
from infra.local.programs import (
    DAEMONS,
    SERVICES,
    base_environment,
    high_availability_of,
    object_store_of,
    programs,
    roles_of,
)
from infra.local.progress import Silent
from infra.local.provision import Provisioned, remove_tree
from infra.local.reap import PROGRAM_MARK, STACK_MARK, marked, reap
from infra.local.stack import Stack
from infra.local.supervise import Supervisor
from infra.local.toxiproxy import toxiproxy
from infra.service_settings import STANDARD_PORTS
from jobs.flink.rest import wait_until
from tidemark.cli.main import app
from tidemark.core.errors import TidemarkError, UnavailableError, UsageError
from tidemark.core.settings import FILE_ENV, Settings, every_setting
from tidemark.core.supervisor import STOP_WITHIN_S
from tidemark.serve.roles import chosen


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "stack").mkdir()
    return Paths.of(tmp_path / "stack")


@pytest.fixture
def parts(tmp_path: Path) -> Provisioned:
    jars = tmp_path / "jars"
    jars.mkdir()
    (jars / "connector-1.jar").touch()
    return Provisioned(tmp_path / "rootfs", jars, jars, jars, jars)


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_state_directory_with_a_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="state-dir"):
        Paths.of(tmp_path / "a stack")


def test_the_supervisor_socket_fits_into_an_address_however_deep_the_state_directory_is(tmp_path: Path) -> None:
    deep = Paths.of(tmp_path.joinpath(*["directory"] * 20))
    assert len(str(deep.supervisor_socket)) < 100
    assert Paths.of("/short").supervisor_socket == Path("/short/work/supervisord.sock")


def test_ports_are_kept(paths: Paths) -> None:
    first = choose_ports(paths.ports, prefer_standard=False)
    assert choose_ports(paths.ports, prefer_standard=True) == first


def test_ports_of_a_stack_differ_and_lie_below_the_ephemeral_range(paths: Paths) -> None:
    ports = choose_ports(paths.ports, prefer_standard=False)
    assert set(ports) == set(STANDARD_PORTS)
    assert len(set(ports.values())) == len(ports)
    assert max(ports.values()) < 32_768


def test_a_torn_ports_file_is_replaced(paths: Paths) -> None:
    paths.ports.write_text("kafka: 20001\n")
    assert set(choose_ports(paths.ports, prefer_standard=False)) == set(STANDARD_PORTS)


def test_a_taken_port_is_named_with_the_way_out(paths: Paths, listening: int) -> None:
    assert not is_free(listening)
    with pytest.raises(UnavailableError, match=f"kafka {listening}.*ports.yaml"):
        refuse_taken({"kafka": listening}, paths.ports)


def test_a_private_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, "a")
    write_private(path, "b")
    assert path.read_text() == "b"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_passwords_are_random_and_survive(paths: Paths) -> None:
    write_passfiles(paths)
    first = (paths.passfile.read_text(), paths.admin_passfile.read_text())
    write_passfiles(paths)
    assert (paths.passfile.read_text(), paths.admin_passfile.read_text()) == first
    assert first[0].split(":")[4] != first[1].split(":")[4]


def test_two_runs_on_one_stack_do_not_collide(paths: Paths) -> None:
    busy = pytest.raises(UnavailableError, match="busy with the stack")
    with locked(paths.lock, wait=False, what="the stack"), busy, locked(paths.lock, wait=False, what="the stack"):
        pass
    with locked(paths.lock, wait=False, what="the stack"):
        pass


def test_a_half_made_part_is_not_taken_for_complete(tmp_path: Path) -> None:
    target = tmp_path / "part"

    def breaks_off(folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        provisioning.once(target, Silent(), "making", breaks_off)
    assert list(tmp_path.iterdir()) == []
    provisioning.once(target, Silent(), "making", lambda folder: (folder / "whole").touch())
    assert [path.name for path in target.iterdir()] == ["whole"]


def test_a_failing_fetch_is_tried_three_times(tmp_path: Path) -> None:
    tries = []

    def fails(folder: Path) -> None:
        tries.append(folder)
        raise UnavailableError("no network")

    with pytest.raises(UnavailableError, match="no network"):
        provisioning.once(tmp_path / "part", Silent(), "making", fails)
    assert len(tries) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_tree_with_a_mount_inside_is_not_removed() -> None:
    with pytest.raises(TidemarkError, match="live mounts"):
        remove_tree(Path("/dev"))


def test_clean_refuses_a_directory_that_no_up_made(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(TidemarkError, match="state-dir"):
        Stack(Paths.of(tmp_path)).clean()
    assert (tmp_path / "precious").exists()


@pytest.mark.parametrize("below", ["", "stack"])
def test_a_file_is_no_folder_of_a_stack(tmp_path: Path, below: str) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"is a file, or within one\..*--state-dir"):
        Paths.of(tmp_path / "notes.txt" / below)


@pytest.mark.parametrize("make", [Stack.open_http, lambda stack: stack.add_settings({})], ids=["up", "settings"])
@pytest.mark.parametrize("beside", ["notes.txt", "settings.yaml"])
def test_a_folder_that_holds_other_files_is_no_stack_and_stays_as_it_is(
    tmp_path: Path, make: Callable[[Stack], None], beside: str
) -> None:
    project = tmp_path / "project"
    project.mkdir(mode=0o755)
    files = dict.fromkeys(["precious", beside], "mine: 1\n")
    for name, text in files.items():
        (project / name).write_text(text)
    before = project.stat()
    with pytest.raises(UsageError, match=r"project holds other files.*a folder of its own"):
        make(Stack(Paths.of(project)))
    with pytest.raises(TidemarkError, match="state-dir"):
        Stack(Paths.of(project)).clean()
    assert {path.name: path.read_text() for path in project.iterdir()} == files
    assert (project.stat().st_mode, project.stat().st_gid) == (before.st_mode, before.st_gid)


def test_settings_that_were_written_before_the_first_up_are_no_other_files(paths: Paths) -> None:
    paths.settings.write_text("close: {settle_s: 1}\n")
    Stack(paths).open_http()
    assert "settle_s: 1" in paths.settings.read_text()


def test_a_stack_whose_ports_were_deleted_is_still_one(paths: Paths) -> None:
    Stack(paths).open_http()
    write_passfiles(paths)
    paths.ports.unlink()
    Stack(paths).open_http()
    assert set(choose_ports(paths.ports, prefer_standard=False)) == set(STANDARD_PORTS)


def test_clean_removes_what_an_up_left_that_was_interrupted_early(paths: Paths) -> None:
    stack = Stack(paths)
    stack.open_http()
    assert stack.status() == []
    stack.clean()
    assert not paths.root.exists()


def test_a_clean_that_was_interrupted_can_be_repeated(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack(paths)
    stack.open_http()
    for folder in ("a", "z"):
        (paths.root / folder).mkdir()
        (paths.root / folder / "data").touch()

    remove = shutil.rmtree

    def interrupted(path: Path) -> None:
        remove(path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stack.clean()
    assert paths.ports.is_file()
    stack.clean()
    assert not paths.root.exists()


def test_clean_of_nothing_does_nothing(tmp_path: Path) -> None:
    Stack(Paths.of(tmp_path / "none")).clean()
    assert list(tmp_path.iterdir()) == []


def test_the_written_settings_are_settings(paths: Paths) -> None:
    written = settings(paths, STANDARD_PORTS)
    assert set(written) <= {name for name, _ in every_setting()}


def test_every_service_listens_on_this_machine_only(paths: Paths, parts: Provisioned) -> None:
    write_configuration(paths, parts, STANDARD_PORTS)
    kafka = (paths.conf / "kafka.properties").read_text()
    assert "0.0.0.0" not in kafka  # noqa: S104
    assert "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093" in kafka
    assert "listen_addresses = '127.0.0.1'" in (paths.conf / "postgres.conf").read_text()
    assert "bind 127.0.0.1" in (paths.conf / "redis.conf").read_text()
    flink = yaml.safe_load((paths.conf / "flink/config.yaml").read_text())
    addresses = {key: value for key, value in flink.items() if key.endswith(("host", "address"))}
    assert set(addresses.values()) == {"127.0.0.1"}, addresses


def test_flink_uses_the_python_of_this_environment_and_utc(paths: Paths, parts: Provisioned) -> None:
    write_configuration(paths, parts, STANDARD_PORTS)
    flink = yaml.safe_load((paths.conf / "flink/config.yaml").read_text())
    assert flink["python.executable"] == flink["python.client.executable"] == sys.executable
    assert "-Duser.timezone=UTC" in flink["env.java.opts.all"].split()


def test_flink_finds_its_own_jars_the_connectors_and_the_python_runtime(paths: Paths, parts: Provisioned) -> None:
    write_configuration(paths, parts, STANDARD_PORTS)
    linked = {jar.name.rpartition("-")[0]: jar for jar in (paths.conf / "flink-lib").iterdir()}
    assert {"connector", "flink-dist", "flink-python"} <= set(linked)
    assert all(jar.exists() for jar in linked.values())


def test_flink_answers_prometheus_only_where_that_was_asked_for(paths: Paths, parts: Provisioned) -> None:
    # Its reporter listens on all interfaces.
    write_configuration(paths, parts, STANDARD_PORTS)
    plain = yaml.safe_load((paths.conf / "flink/config.yaml").read_text())
    assert "metrics.reporters" not in plain
    write_configuration(paths, parts, STANDARD_PORTS, flink_metrics=True)
    flink = yaml.safe_load((paths.conf / "flink/config.yaml").read_text())
    assert flink["metrics.reporters"] == "prom"
    assert flink["metrics.reporter.prom.port"] == METRICS_PORTS
    added = {name for name in flink if name not in plain}
    assert added == {"metrics.reporters", "metrics.reporter.prom.factory.class", "metrics.reporter.prom.port"}


@pytest.mark.parametrize(("running", "kept"), [(True, True), (False, False)])
def test_an_up_without_metrics_leaves_those_of_a_running_flink_alone(
    paths: Paths, parts: Provisioned, monkeypatch: pytest.MonkeyPatch, running: bool, kept: bool
) -> None:
    monkeypatch.setattr("infra.local.stack.provision", lambda *_, **__: parts)
    monkeypatch.setattr("infra.local.stack.refuse_taken", lambda *_: None)
    for name in ("prepare_postgres", "prepare_kafka"):
        monkeypatch.setattr(prepare, name, lambda *_: None)
    for name in ("_start", "_await_ready", "_end_strays"):
        monkeypatch.setattr(Stack, name, lambda *_, **__: None)
    stack = Stack(paths)
    stack.up(flink_metrics=True)
    asked_for = (paths.conf / "flink/config.yaml").read_text()
    assert METRICS_PORTS in asked_for
    monkeypatch.setattr(Supervisor, "pid", lambda _: 1 if running else None)
    stack.up()
    assert ((paths.conf / "flink/config.yaml").read_text() == asked_for) is kept


def test_flink_reaches_s3_as_the_settings_of_the_stack_say_and_keys_stay_in_their_file(
    paths: Paths, parts: Provisioned
) -> None:
    keys = paths.root / "s3-keys"
    keys.write_text("[default]\naws_access_key_id = AKIA-1\naws_secret_access_key = a-secret\n")
    s3 = {"endpoint": "http://127.0.0.1:9000", "region": "eu-west-1", "credentials_file": str(keys)}
    paths.settings.write_text(yaml.safe_dump({"s3": s3}))
    write_configuration(paths, parts, STANDARD_PORTS)
    text = (paths.conf / "flink/config.yaml").read_text()
    flink = yaml.safe_load(text)
    assert (flink["s3.endpoint"], flink["s3.endpoint.region"]) == (s3["endpoint"], s3["region"])
    assert (paths.conf / "flink-plugins/s3-fs-hadoop").readlink() == parts.flink_s3
    assert (paths.conf / "flink-plugins/metrics-prometheus").is_dir()
    by_name = {program.name: program for program in programs(paths, parts, STANDARD_PORTS)}
    for name in ("jobmanager", "taskmanager"):
        assert by_name[name].environment["AWS_CREDENTIAL_PROFILES_FILE"] == str(keys)
    assert not any(secret in text + paths.supervisor_conf.read_text() for secret in ("AKIA-1", "a-secret"))


def test_supervisord_restarts_a_program_exactly_when_its_configuration_changes(
    paths: Paths, parts: Provisioned
) -> None:
    def sections() -> dict[str, str]:
        parsed = paths.supervisor_conf.read_text().split("[program:")[1:]
        return {text.partition("]")[0]: text for text in parsed}

    write_configuration(paths, parts, STANDARD_PORTS)
    first = sections()
    write_configuration(paths, parts, STANDARD_PORTS)
    assert sections() == first
    write_configuration(paths, parts, {**STANDARD_PORTS, "redis": 20_000})
    assert {name for name, text in sections().items() if text != first[name]} == {"redis"}


def test_every_service_is_restarted_and_the_roles_wait_for_the_tables(paths: Paths, parts: Provisioned) -> None:
    every = {program.name: program for program in programs(paths, parts, STANDARD_PORTS)}
    assert set(every) == {*SERVICES, *DAEMONS}
    assert {name for name, program in every.items() if not program.autostart} == set(DAEMONS)
    assert every["postgres"].stop_signal == "INT"
    roles = ["live", "quotas", "alerts", "deliver", "health"]
    assert chosen(Settings(), every["serve"].command[-1].split(",")) == roles
    assert every["serve"].stop_wait_s > STOP_WITHIN_S


def test_http_is_answered_where_the_stack_has_an_address_for_it_which_stays(paths: Paths, parts: Provisioned) -> None:
    stack = Stack(paths)
    stack.open_http()
    kept = paths.settings.read_text()
    stack.open_http()
    assert paths.settings.read_text() == kept
    assert "secure_cookie: false" in kept
    (serve,) = (program for program in programs(paths, parts, STANDARD_PORTS) if program.name == "serve")
    assert serve.command[-1].split(",")[-3:] == ["health", "api", "web"]


WRONG_SECTIONS = {
    "s3: {enpoint: 'http://h'}": r"s3\.enpoint: there is no such setting; did you mean s3\.endpoint\?",
    "ha: {mod: zookeeper}": r"ha\.mod: there is no such setting; did you mean ha\.mode\?",
    "ha:": "ha: Input should be a valid dictionary",
    "api:": "api: Input should be a valid dictionary",
    "web: {listen: nowhere}": "web.listen: .*'nowhere'",
    "- ha": "has no sections, but a list",
    "ha: {mode": "is not YAML",
}


@pytest.mark.parametrize(("text", "why"), WRONG_SECTIONS.items())
def test_a_wrong_section_of_the_settings_is_named_by_whatever_reads_it(paths: Paths, text: str, why: str) -> None:
    paths.settings.write_text(text)
    with pytest.raises(UsageError, match=why):
        (object_store_of(paths), high_availability_of(paths), roles_of(paths))


@pytest.mark.parametrize("command", [["up"], ["up", "--ha", "zookeeper"], ["demo"]])
@pytest.mark.parametrize("text", ["s3: {enpoint: x}", "ha:", "close: {settle: 1}", "- ha"])
def test_wrong_settings_of_a_stack_are_refused_before_anything_is_made(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, command: list[str], text: str
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(Stack, "up", never)
    paths.settings.write_text(text)
    # It is put back as it was.
    monkeypatch.setenv(FILE_ENV, "")
    with pytest.raises(UsageError, match=r"settings\.yaml"):
        app([*command, "--state-dir", str(paths.root)], standalone_mode=False)
    assert [path.name for path in paths.root.iterdir()] == ["settings.yaml"]
    assert paths.settings.read_text() == text


def test_the_stack_does_not_inherit_the_callers_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_EVENTS__GRACE_S", "1")
    assert not [name for name in base_environment() if name.startswith("TIDEMARK_")]


@contextmanager
def supervisord(paths: Paths, answer: Callable[..., Any]) -> Iterator[None]:
    """The socket of a stack, on which every call is answered so."""

    class Server(socketserver.UnixStreamServer, SimpleXMLRPCDispatcher):
        def __init__(self, address: str) -> None:
            SimpleXMLRPCDispatcher.__init__(self, allow_none=True)
            socketserver.UnixStreamServer.__init__(self, address, Handler)
            self._dispatch = lambda method, given: answer(method, *given)  # type: ignore[method-assign]

    class Handler(SimpleXMLRPCRequestHandler):
        disable_nagle_algorithm = False

        def log_request(self, *_: Any) -> None:
            return

        def address_string(self) -> str:
            return ""

    paths.work.mkdir()
    with Server(str(paths.supervisor_socket)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            paths.supervisor_socket.unlink()


def test_a_supervisord_that_stops_is_not_available(paths: Paths) -> None:
    def stopping(*_: Any) -> None:
        raise Fault(6, "SHUTDOWN_STATE")

    stopped = Supervisor(paths)
    with supervisord(paths, stopping):
        for call in (stopped.update, lambda: stopped.state("kafka"), lambda: stopped.start_program("kafka")):
            with pytest.raises(UnavailableError, match=r"supervisord refuses .*SHUTDOWN_STATE"):
                call()
        assert not stopped.answers()


def test_a_supervisord_that_is_gone_is_not_available(paths: Paths) -> None:
    gone = Supervisor(paths)
    with pytest.raises(UnavailableError, match="supervisord does not answer"):
        gone.state("kafka")
    assert not gone.answers()


def test_a_program_that_supervisord_does_not_know_yet_does_not_run(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(_: str, program: str, *__: Any) -> dict[str, Any]:
        if program == standby.SECOND:
            raise Fault(10, f"BAD_NAME: {program}")
        return {"statename": "RUNNING", "pid": 7, "start": 1, "now": 3}

    monkeypatch.setattr(Supervisor, "pid", lambda _: 1)
    monkeypatch.setattr(probes, "ask", lambda service, *_: probes.Answer(ready=service != standby.SECOND))
    # An `up --ha zookeeper` has failed after it stored how the leader is elected.
    stack = Stack(paths)
    stack.add_settings({"ha.mode": "zookeeper", "ha.zookeeper": "zk:2181"})
    choose_ports(paths.ports, prefer_standard=False)
    with supervisord(paths, answer):
        lines = {line.service: line for line in stack.status()}
        with pytest.raises(UnavailableError, match="BAD_NAME"):
            stack.supervisor.start_program(standby.SECOND)
    assert (lines["kafka"].state, lines["kafka"].uptime_s) == ("running", 2)
    second = lines[standby.SECOND]
    assert (second.state, second.pid, second.ready) == ("unknown", 0, False)


def test_strays_of_a_stack_are_ended_and_those_of_another_are_not(tmp_path: Path) -> None:
    def stray(stack: str, program: str) -> subprocess.Popen[bytes]:
        environment = {STACK_MARK: str(tmp_path / stack), PROGRAM_MARK: program, "PATH": os.environ["PATH"]}
        return subprocess.Popen(["sleep", "60"], env=environment, start_new_session=True)

    ours, theirs, other = stray("a", "kafka"), stray("b", "kafka"), stray("a", "redis")
    try:
        # A process shows its mark only once it has left our session and become its own program.
        expected = {ours.pid: "kafka", other.pid: "redis"}
        wait_until(lambda: marked(tmp_path / "a") == expected, 10, "the strays to be found")
        wait_until(lambda: marked(tmp_path / "b") == {theirs.pid: "kafka"}, 10, "the other stack's stray to be found")
        assert reap(tmp_path / "a", "kafka") == 1
        assert ours.wait(5) == -signal.SIGTERM
        assert theirs.poll() is other.poll() is None
    finally:
        for process in (ours, theirs, other):
            process.kill()
            process.wait(5)


def test_toxiproxy_without_go_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    with pytest.raises(TidemarkError, match="as root: apt-get install golang-go"):
        toxiproxy(Silent())
