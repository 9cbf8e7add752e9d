"""Bills of materials (CycloneDX) of what is installed and fetched, and the page with their licences.

`python -m infra.supply.bom CYCLONEDX_PY` writes build/sbom/*.cdx.json and docs/licences.md; it needs Maven.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from packaging.utils import canonicalize_name

from infra.local.provision import POM, PROFILES
from infra.supply import lock

FOLDER, PAGE = lock.ROOT / "build/sbom", lock.ROOT / "docs/licences.md"
_PLUGIN = "org.cyclonedx:cyclonedx-maven-plugin:2.9.1:makeBom"
_CLASSIFIER = "License :: OSI Approved :: "
_PARTS = {
    "python": "Python packages that the product runs on (in the image, and in `.venv`)",
    "jars-flink": "Jars that Flink gets beside its own (in the image, and in the local stack)",
    "jars-flink-s3": "Flink's plugin for S3 (in the local stack; the image has Flink's own)",
    "jars-kafka": "Jars of Kafka, of the local stack alone",
    "jars-zookeeper": "Jars of ZooKeeper, of a local stack with two JobManagers",
}
# Their metadata has a text or nothing; read in their sources.
_READ = {
    "protobuf": "BSD-3-Clause",
    "pyarrow-hotfix": "Apache-2.0",
    "supervisor": "BSD-3-Clause-Modification (repoze)",
}
_SERVERS = """\
## Programs that are fetched and not changed

| program | licence |
|---|---|
| Apache Flink, Apache Kafka (the image `apache/kafka`) | Apache-2.0 |
| PostgreSQL | PostgreSQL |
| TimescaleDB, its Apache edition alone (`timescaledb.license=apache`) | Apache-2.0 |
| Redis: 7.0 from Debian in the local stack, the image `redis:7.2` in compose | BSD-3-Clause |
| OpenJDK | GPL-2.0 with Classpath exception |
| Debian and Python in the base images | each package's own, in `/usr/share/doc/*/copyright` |

Redis is under RSALv2 or SSPLv1 from 7.4 on, which are no free licences: that is why compose has 7.2.
"""


@dataclass(frozen=True, order=True, slots=True)
class Component:
    """A line of the page."""

    name: str
    version: str
    licence: str


def component(found: dict[str, Any]) -> Component:
    """Name, version and licences of a component of a bill of materials."""
    name = f"{found['group']}:{found['name']}" if found.get("group") else found["name"]
    names = [one.get("expression") or _name(one["license"]) for one in found.get("licenses", [])]
    # An identifier and a classifier often say the same.
    exact = [one for one in names if not one.startswith(_CLASSIFIER)]
    chosen = exact or [one.removeprefix(_CLASSIFIER) for one in names]
    return Component(name, found["version"], "; ".join(dict.fromkeys(chosen)) or _READ.get(name, ""))


def _name(licence: dict[str, Any]) -> str:
    return str(licence.get("id") or licence["name"])


def narrowed(bill: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A bill with the components of these canonical names alone."""
    wanted = set(names)
    kept = [one for one in bill["components"] if canonicalize_name(one["name"]) in wanted]
    known = {one["bom-ref"] for one in kept}
    dependencies = [
        {**one, **({"dependsOn": [ref for ref in one["dependsOn"] if ref in known]} if "dependsOn" in one else {})}
        for one in bill.get("dependencies", [])
        if one["ref"] in known
    ]
    return {**bill, "components": kept, "dependencies": dependencies}


def page(bills: dict[str, dict[str, Any]]) -> str:
    """The page, of bills by part."""
    tables = [
        f"## {title}\n\n| component | version | licence |\n|---|---|---|\n"
        + "".join(
            f"| {one.name} | {one.version} | {one.licence} |\n"
            for one in sorted(map(component, bills[part]["components"]))
        )
        for part, title in _PARTS.items()
    ]
    head = (
        "# Licences\n\nOf everything that Tidemark, which is Apache-2.0 itself, installs or fetches to run. Written by "
        "`make sbom`, which also writes bills of materials (CycloneDX) to `build/sbom`.\n"
    )
    return "\n".join([head, *tables, _SERVERS])


def shipped() -> dict[str, str]:
    """Versions of the Python packages in the images."""
    return lock.versions(lock.PRODUCT.read_text("utf-8")) | lock.versions(lock.JOBS.read_text("utf-8"))


def _python(cyclonedx_py: str) -> dict[str, Any]:
    command = [cyclonedx_py, "environment", "--output-reproducible", "--output-format", "JSON", sys.executable]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return narrowed(json.loads(done.stdout), shipped())


def _jars(profile: str) -> dict[str, Any]:
    options = ["-DoutputFormat=json", f"-DoutputDirectory={FOLDER}", f"-DoutputName=jars-{profile}.cdx",
               "-DincludeTestScope=false", "-DincludeProvidedScope=false"]  # fmt: skip
    subprocess.run(["mvn", "-q", "-B", "-C", "-f", str(POM), "-P", profile, _PLUGIN, *options], check=True)
    bill: dict[str, Any] = json.loads((FOLDER / f"jars-{profile}.cdx.json").read_text("utf-8"))
    return bill


def write(cyclonedx_py: str) -> None:
    """Write the bills and the page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    bills = {"python": _python(cyclonedx_py), **{f"jars-{profile}": _jars(profile) for profile in PROFILES}}
    (FOLDER / "python.cdx.json").write_text(json.dumps(bills["python"], indent=1) + "\n", "utf-8")
    PAGE.write_text(page(bills), "utf-8")


if __name__ == "__main__":
    write(sys.argv[1])
