"""What a backup holds and what it belongs to: its file `manifest.json`, written last, without which it is no backup."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from tidemark.core.errors import UnavailableError, UsageError
from tidemark.core.places import Place

MANIFEST = "manifest.json"
# Of this layout; another one is refused.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its columns in the order of its file, rows, and bytes and SHA-256 of the file."""

    schema: str
    name: str
    columns: list[str]
    rows: int = 0
    size: int = 0
    sha256: str = ""

    @property
    def file(self) -> str:
        """Name of its file in the backup."""
        return f"tables/{self.schema}.{self.name}.copy.zst"


@dataclass(frozen=True, slots=True)
class Sequence:
    """Where the numbers of an identity column go on."""

    schema: str
    table: str
    column: str
    next: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One backup.

    Parameters
    ----------
    made_at:
        Instant of the snapshot by the clock of the database, RFC 3339.
    version, postgres, timescaledb:
        What made it, of Tidemark, and what it was read from.
    run_id, ledger_runs:
        The run it was made of; all runs of the database that have a ledger, and `runs` those without one.
    migrations:
        By schema: name and checksum of each that was applied.
    topics:
        By topic: its id, and first and next offset by partition, read after the snapshot; empty when Kafka was down.
    committed:
        By job: next offset by topic and partition that its checkpoints cover.
    state:
        By job: a savepoint or checkpoint no newer than the snapshot, from which the job makes the tables whole.
    archive:
        Place and id of the archive, and next offset by topic and partition that its index has.
    """

    made_at: str
    version: str
    postgres: str
    timescaledb: str
    run_id: str
    migrations: dict[str, dict[str, str]]
    tables: list[Table]
    sequences: list[Sequence]
    topics: dict[str, dict[str, Any]] = field(default_factory=dict)
    committed: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    state: dict[str, str] = field(default_factory=dict)
    archive: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(table.size for table in self.tables)

    @property
    def runs(self) -> dict[str, bool]:
        """Runs whose tables are in it, and whether each has a ledger; a replay has none."""
        found = {schema.partition("_")[2] for schema in self.migrations if schema.partition("_")[0] == "usage"}
        return {run: (f"billing_{run}" if run else "billing") in self.migrations for run in sorted(found)}

    def text(self) -> str:
        """The file."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


def parsed(text: str) -> Manifest:
    """A manifest by its file.

    Raises
    ------
    UsageError
        It is not one, or of another layout.
    """
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise UsageError(
                f"the backup has layout {document['format']}, and this version reads {FORMAT}.",
                f"restore it with the version that made it, {document['version']}, and upgrade then.",
            )
        document["tables"] = [Table(**one) for one in document["tables"]]
        document["sequences"] = [Sequence(**one) for one in document["sequences"]]
        return Manifest(**document)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{MANIFEST} is not the manifest of a backup: {error!r}.", "name another backup.") from error


def read(place: Place) -> Manifest:
    """The manifest of a backup.

    Raises
    ------
    UsageError
        There is none: the folder is no backup, or one that was not finished.
    UnavailableError
        The place cannot be read.
    """
    if place.size(MANIFEST) is None:
        raise UsageError(
            f"{place.uri} has no {MANIFEST}: it is no backup, or one that was not finished.",
            "name a folder that `tidemark backup run` printed.",
        )
    try:
        return parsed(place.read(MANIFEST))
    except UnicodeDecodeError as error:
        raise UnavailableError(f"{place.uri}/{MANIFEST} is not text: {error}.", "name another backup.") from error
