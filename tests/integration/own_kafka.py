"""A Kafka broker of a test alone."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

from infra.local import programs, provision
from infra.local.paths import private, write_private
from infra.local.ports import is_free
from infra.service_settings import KAFKA, KAFKA_JAVA_OPTIONS
from tests.ports import free_port
from tidemark.core.kafka import clients
from tidemark.core.settings import KafkaSettings

_STARTS_WITHIN_S = 90


class OwnKafka:
    """A broker on a port of loopback that it chooses.

    Parameters
    ----------
    folder:
        Where its files are; empty.
    own:
        Properties beside those that all brokers of tests have.
    controller:
        Port of its controller.
    probe:
        Port that tells whether it listens, and what a client connects with to see whether it answers.
    format_options:
        Of Kafka's StorageTool.
    """

    def __init__(
        self, folder: Path, own: dict[str, str], controller: int, probe: tuple[int, KafkaSettings],
        format_options: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self._folder, self._probe, self._format_options = folder, probe, format_options
        self._properties = folder / "kafka.properties"
        quorum = {"controller.quorum.voters": f"1@127.0.0.1:{controller}", "log.dirs": str(folder / "data")}
        made = {**KAFKA, **quorum, **own}
        write_private(self._properties, "".join(f"{name}={value}\n" for name, value in made.items()))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        form = ["format", "--ignore-formatted", "-t", "TidemarkOwnTestBroker0", "-c", str(self._properties),
                *self._format_options]  # fmt: skip
        with private():
            subprocess.run(self._command("kafka.tools.StorageTool", *form), check=True, capture_output=True)
        with private(), (self._folder / "broker.log").open("wb") as log:
            broker = self._command("kafka.Kafka", str(self._properties))
            self._process = subprocess.Popen(broker, stdout=log, stderr=log)
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "broker.log").read_text()[-4_000:]
            assert self._process.poll() is None, (self._folder / "broker.log").read_text()[-4_000:]
            time.sleep(0.5)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _answers(self) -> bool:
        port, settings = self._probe
        if is_free(port):
            return False
        try:
            with clients.admin(settings, request_timeout_ms=5_000) as admin:
                return bool(admin.describe_cluster())
        except Exception:  # noqa: BLE001 - whatever it is, the broker is not ready
            return False

    def _command(self, main: str, *arguments: str) -> list[str]:
        jars = provision.locations().kafka_jars
        logging = f"-Dlog4j2.configurationFile={Path(programs.__file__).parents[1] / 'kafka/log4j2.properties'}"
        return [programs.java(), *KAFKA_JAVA_OPTIONS, logging, "-cp", f"{jars}/*", main, *arguments]


class ProxiedKafka(OwnKafka):
    """A broker with two addresses: one for those who reach it directly, and one that clients are sent to by a proxy.

    Parameters
    ----------
    folder:
        Where its files are; empty.
    proxy_port:
        Port of the proxy, which leads to `behind`.
    """

    def __init__(self, folder: Path, proxy_port: int) -> None:
        direct, controller, self.behind = free_port(), free_port(), free_port()
        self.direct, self.proxied = f"127.0.0.1:{direct}", f"127.0.0.1:{proxy_port}"
        own = {
            "listeners": f"PLAINTEXT://{self.direct},PROXIED://127.0.0.1:{self.behind},"
            f"CONTROLLER://127.0.0.1:{controller}",
            # A client asks one address for all others: it must be given that of the proxy again.
            "advertised.listeners": f"PLAINTEXT://{self.direct},PROXIED://{self.proxied}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT",
        }
        super().__init__(folder, own, controller, (direct, KafkaSettings(bootstrap=self.direct)))
