"""Definitions of resources that the chart can make for operators of Flink, Strimzi and Prometheus."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import yaml

from infra.kubernetes.tools import go_program
from infra.local.paths import cache_dir, locked
from infra.local.progress import Progress
from infra.local.provision import once, run_program
from infra.versions import FLINK, FLINK_OPERATOR_API, PROMETHEUS_OPERATOR, STRIMZI_API
from tidemark.core.errors import UnavailableError

POM = Path(__file__).with_name("pom.xml")
_STRIMZI = {
    "kafka": "kafka.Kafka", "nodepool": "nodepool.KafkaNodePool", "topic": "topic.KafkaTopic", "user": "user.KafkaUser"
}  # fmt: skip
_PROMETHEUS = ("podmonitors", "prometheusrules")
_FLINK = "META-INF/fabric8/flinkdeployments.flink.apache.org-v1.yml"
# Strimzi's generator is made for it.
_JAVA = 21


def definitions(progress: Progress) -> list[Path]:
    """Files with CustomResourceDefinitions, made once a machine.

    Raises
    ------
    UnavailableError
        A fetch failed three times, or there is no Java 21.
    """
    target = cache_dir() / f"definitions-{FLINK_OPERATOR_API}-{STRIMZI_API}-{PROMETHEUS_OPERATOR}"
    with locked(cache_dir() / ".definitions.lock", wait=True, what="definitions of resources"):
        once(target, progress, "fetching definitions of resources by Maven and Go", _make)
    return sorted(target.glob("*.yaml"))


def _make(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        jars = Path(folder)
        versions = [f"-Dstrimzi.version={STRIMZI_API}", f"-Dflink.operator.version={FLINK_OPERATOR_API}"]
        fetch = ["mvn", "-q", "-B", "-C", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        run_program([*fetch, *versions])
        _strimzi(jars, target)
        _flink(jars / f"flink-kubernetes-operator-api-{FLINK_OPERATOR_API}.jar", target)
    _prometheus(target)


def _strimzi(jars: Path, target: Path) -> None:
    # Its names of files are absolute.
    wanted = [
        f"io.strimzi.api.kafka.model.{kind}={target.absolute()}/strimzi-{name}.yaml" for name, kind in _STRIMZI.items()
    ]
    run_program([str(_java()), "-cp", f"{jars}/*", "io.strimzi.crdgenerator.CrdGenerator", "--yaml", *wanted])


def _flink(jar: Path, target: Path) -> None:
    with zipfile.ZipFile(jar) as archive:
        definition: dict[str, Any] = yaml.safe_load(archive.read(_FLINK))
    # The newest that is published ends before this version of Flink.
    ours = f"v{FLINK.rpartition('.')[0].replace('.', '_')}"
    for version in definition["spec"]["versions"]:
        known = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["flinkVersion"]["enum"]
        known.extend([] if ours in known else [ours])
    (target / "flink.yaml").write_text(yaml.safe_dump(definition))


def _prometheus(target: Path) -> None:
    module = f"github.com/prometheus-operator/prometheus-operator@v{PROMETHEUS_OPERATOR}"
    done = subprocess.run(
        [go_program(), "mod", "download", "-json", module], check=True, capture_output=True, text=True
    )
    folder = Path(json.loads(done.stdout)["Dir"]) / "example/prometheus-operator-crd"
    for kind in _PROMETHEUS:
        name = f"monitoring.coreos.com_{kind}.yaml"
        (target / name).write_bytes((folder / name).read_bytes())


def _java() -> Path:
    found = {int(_major(java)): java for java in Path("/usr/lib/jvm").glob("*/bin/java")}
    newest = max(found, default=0)
    if newest < _JAVA:
        raise UnavailableError(f"the newest Java here is {newest}.", f"install Java {_JAVA} or newer.")
    return found[newest]


def _major(java: Path) -> str:
    done = subprocess.run([str(java), "-version"], check=True, capture_output=True, text=True)
    found = re.search(r'version "(\d+)', done.stderr)
    return found.group(1) if found else "0"
