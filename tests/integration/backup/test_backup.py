"""Backups on real Postgres, Kafka and S3: row by row what was there comes back, and what was damaged is named."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg import sql
from typer.testing import CliRunner

from jobs.flink.rest import wait_until
from tests.integration.billing.ledger_world import CATALOG
from tests.integration.billing.test_chain import FIRST, OTHER, SECOND, append, line
from tests.integration.catalog.own_database import own_database
from tests.object_store import BUCKET
from tidemark.backup import make, manifest, restore, tables
from tidemark.backup.manifest import Manifest
from tidemark.backup.scratch import scratch
from tidemark.backup.verify import verify
from tidemark.billing import outbox, recover
from tidemark.catalog import tool as catalog_tool
from tidemark.cli.main import app
from tidemark.core import migrate, postgres, rollup_views, topics
from tidemark.core.errors import DifferenceError, TidemarkError, UsageError
from tidemark.core.kafka import clients
from tidemark.core.places import Place
from tidemark.core.settings import Settings
from tidemark.reconcile import ledger as ledger_check
from tidemark.reconcile.sample import Wanted

_OVERLAY = "INSERT INTO {}.overlay (replay_id, usage_schema, scope_start) VALUES ('back', %s, '2024-03-01T00:00:00Z')"
_SERIES = "tenant_id, customer_id, meter, dims, part"
_VALUES = "n, samples, total, lo, hi"
_ROLLUPS = {
    "usage_minute": ("minute_start", "'2024-03-01T10:07:00Z'"),
    "usage_hour": ("hour_start", "'2024-03-01T10:00:00Z'"),
    "usage_day": ("day", "'2024-03-01'"),
    "usage_period": ("period_start, period_end", "'2024-03-01T00:00:00Z', '2024-03-02T00:00:00Z'"),
}
Contents = dict[str, list[str]]


def quiet(_: str) -> None: ...


@pytest.fixture
def run(stack: Any, tmp_path: Path) -> Iterator[Settings]:
    """A database of its own: a catalog, usage of a run and of a promoted replay, and a ledger that was published."""
    file = tmp_path / "catalog.yaml"
    file.write_text(yaml.safe_dump({"valid_from": "beginning", **CATALOG}))
    with own_database(stack, "backup") as database:
        settings = database.with_changes({"run_id": f"t{secrets.token_hex(5)}"})
        replay = settings.with_changes({"run_id": settings.names.replay("back")})
        migrate.migrate(settings)
        migrate.migrate(replay, ledger=False)
        topics.apply(settings)
        catalog_tool.apply(settings, file, backdate=True, prune=True, all_tenants=True)
        for number, one in enumerate((settings, replay)):
            count(one, f"a\nline\t{number}", 1_000 + number)
        append(settings, {FIRST: line("5.5"), SECOND: line("7"), OTHER: {}})
        append(settings, {FIRST: line("6.25"), OTHER: line("1")})
        promote(settings, replay)
        outbox.publish(settings)
        yield settings


def count(run: Settings, customer: str, total: int, but: str = "") -> None:
    """A measurement in all grains, and one of them that lacks a unit of it."""
    with postgres.connect(run.postgres.owner) as connection:
        for table, (names, values) in _ROLLUPS.items():
            postgres.use_schema(connection, run.names.usage_schema)
            into = f"INSERT INTO {table} ({_SERIES}, {names}, {_VALUES})"
            statement = f"{into} VALUES ('acme', %s, 'm', '', '', {values}, 1, 1, %s, 1, 1)"
            connection.execute(statement.encode(), [customer, total - (table == but)])


def promote(run: Settings, replay: Settings) -> None:
    with postgres.connect(run.postgres.owner) as connection:
        statement = sql.SQL(_OVERLAY).format(sql.Identifier(run.names.billing_schema))
        connection.execute(statement, [replay.names.usage_schema])
        rollup_views.apply(connection, run.names)


def contents(run: Settings) -> Contents:
    """All rows of all tables, and of the view that follows the promoted replay, as text in an order of their own."""
    with postgres.connect(run.postgres.owner) as connection:
        there = [(one.schema, one.name) for one in tables.tables(connection, tables.schemas(connection))]
        there.append((run.names.billing_schema, "usage_period"))
        return {
            f"{schema}.{name}": sorted(
                row[0]
                for row in connection.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, name)))
            )
            for schema, name in there
        }


@contextmanager
def restored(run: Settings, place: Place, made: Manifest) -> Iterator[Settings]:
    with scratch(run) as there:
        restore.into(there, place, made, quiet)
        yield there


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_what_comes_back_is_row_by_row_what_was_there(run: Settings, tmp_path: Path, where: str) -> None:
    to = f"s3://{BUCKET}/backup/{run.run_id}" if where == "s3" else str(tmp_path / "backup")
    place, made = make.run(run, to, quiet)
    then = contents(run)
    assert made.rows == sum(map(len, then.values())) - len(then[f"{run.names.billing_schema}.usage_period"])
    # What comes later is not in it.
    append(run, {FIRST: line("9")})
    with restored(run, place, manifest.read(place)) as back:
        assert contents(back) == then
        # Numbers go on behind those that were given, and what only grows is guarded again.
        append(back, {FIRST: line("10")})
        with postgres.connect(back.postgres.owner) as connection, pytest.raises(Exception, match="only grows"):
            connection.execute("DELETE FROM audit.entry")


def test_a_backup_is_tried_and_what_is_wrong_with_it_is_named(run: Settings, tmp_path: Path) -> None:
    place, made = make.run(run, str(tmp_path), quiet)
    done = verify(run, place, made, quiet)
    assert (done.faults, done.applied, done.missing) == ([], [], [])
    own = {name: outcome for name, outcome in done.outcomes.items() if run.run_id in name}
    assert {name.partition(": ")[2] for name in own} == {"grains", "invoices", "ledger"}
    assert all(outcome.compared and not outcome.not_checked for name, outcome in own.items() if "invoices" not in name)
    # Rows that do not add up in the database that was saved.
    count(run, "short", 5, but="usage_hour")
    wrong = verify(run, *make.run(run, str(tmp_path), quiet), quiet)
    assert [fault for fault in wrong.faults if "grains" in fault]
    with pytest.raises(DifferenceError):
        wrong.raise_if_faulty()
    # A file of which one byte is another.
    (largest,) = sorted(Path(place.path).glob("tables/*.zst"), key=lambda file: file.stat().st_size)[-1:]
    damaged = bytearray(largest.read_bytes())
    damaged[-1] ^= 1
    largest.write_bytes(damaged)
    with pytest.raises(TidemarkError, match="damaged"):
        verify(run, place, made, quiet)
    # One that was not finished.
    (Path(place.path) / manifest.MANIFEST).unlink()
    with pytest.raises(UsageError, match="not finished"):
        manifest.read(place)


def test_the_commands_say_what_they_did(run: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemark.cli.backup.load", lambda **_: run)
    saved = asked("backup", "run", str(tmp_path))
    assert "rollup" not in saved["state"]
    tried = asked("backup", "verify", saved["place"])
    assert (tried["rows"], tried["faults"], [*tried["seconds"]]) == (saved["rows"], [], ["restore", "check"])
    with scratch(run) as there:
        monkeypatch.setattr("tidemark.cli.backup.load", lambda **_: there)
        back = asked("backup", "restore", saved["place"], "--by", "ada")
        assert back["then"] == [f"then: tidemark submit rollup --run-id {run.run_id} --from-beginning"]
        with postgres.connect(there.postgres.ops) as connection:
            noted = connection.execute("SELECT stated_by, detail FROM audit.entry WHERE action = 'database.restore'")
            assert {(by, detail["made_at"]) for by, detail in noted} == {("ada", saved["made_at"])}


def asked(*command: str) -> Any:
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_database_that_is_not_empty_is_left_alone(run: Settings, tmp_path: Path) -> None:
    place, made = make.run(run, str(tmp_path), quiet)
    then = contents(run)
    with pytest.raises(UsageError, match="empty database"):
        restore.run(run, place, made, quiet)
    assert contents(run) == then


def test_an_older_ledger_gives_no_number_twice_and_reads_back_what_was_published(run: Settings, tmp_path: Path) -> None:
    place, made = make.run(run, str(tmp_path), quiet)
    append(run, {FIRST: line("9"), SECOND: line("8")})
    append(run, {FIRST: line("11")})
    outbox.publish(run)
    with restored(run, place, made) as back:
        # Given the database is older than what was published, then nothing new is added to the ledger, ...
        with postgres.connect(back.postgres.ledger) as connection, pytest.raises(TidemarkError, match="ledger recover"):
            outbox.refuse_behind(connection, back)
        # ... until it has what it lacks, to the last column; instants to the millisecond, as they were published.
        assert recover.recover(back, "test") == 3
        assert recover.recover(back, "test") == 0
        ledger = {name for name in contents(run) if name.startswith(f"{run.names.billing_schema}.")}
        now, then = contents(back), contents(run)
        assert {name: as_published(name, now[name]) for name in ledger} == {
            name: as_published(name, then[name]) for name in ledger
        }
        append(back, {FIRST: line("12")})
        assert outbox.publish(back) == 1
        with postgres.connect(back.postgres.ops) as connection, connection.transaction():
            assert ledger_check.check(back, connection, Wanted()).findings == []


def as_published(name: str, rows: list[str]) -> list[str]:
    """Rows with instants to the millisecond; when a row of the outbox was made is not published."""
    cut = [re.sub(r"\.(\d{1,3})\d*\+00", _milliseconds, row) for row in rows]
    return [row.rpartition(",")[0] for row in cut] if name.endswith(".outbox") else cut


def _milliseconds(found: re.Match[str]) -> str:
    digits = found[1].rstrip("0")
    return f".{digits}+00" if digits else "+00"


def test_topics_that_were_made_anew_get_the_whole_ledger_again(run: Settings) -> None:
    with postgres.connect(run.postgres.owner) as connection:
        records = connection.execute(
            sql.SQL("SELECT count(*) FROM {}.outbox").format(sql.Identifier(run.names.billing_schema))
        ).fetchall()[0][0]
    lose_topics(run, [run.names.closes, run.names.corrections])
    topics.apply(run)
    assert outbox.publish(run) == 0
    assert outbox.publish(run, again=True) == records
    assert outbox.publish(run, again=True) == 0


def lose_topics(run: Settings, names: list[str]) -> None:
    with clients.admin(run.kafka) as admin:
        admin.delete_topics(names)
        wait_until(lambda: not {*names} & {*admin.list_topics()}, 60, "the topics to go")
