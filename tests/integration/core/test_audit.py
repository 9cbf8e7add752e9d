"""The audit on the real server: written with the change or not at all, by which login, and changed by nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml
from psycopg import sql
from typer.testing import CliRunner

from infra.local.prepare import connect_admin
from tests.integration.audited import entries
from tests.integration.catalog.own_database import own_database
from tidemark.alerts.acknowledgement import acknowledge
from tidemark.api import key_store
from tidemark.catalog import tool as catalog_tool
from tidemark.cli import audit as audit_command
from tidemark.cli import ledger as ledger_command
from tidemark.cli import usage as usage_command
from tidemark.cli.main import app
from tidemark.core import audit, grants, postgres
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.settings import Settings
from tidemark.delivery import store as notifications
from tidemark.responses import suspend

CALENDAR = {"anchor": "2024-01-01T00:00:00", "interval": "P1M", "timezone": "Etc/UTC"}
METER = {"event_types": ["call"], "aggregation": "count", "unit": "calls"}
CATALOG = {
    "valid_from": "beginning", "calendars": {"utc": CALENDAR},
    "tenants": {"acme": {"calendar": "utc", "customers": {"bob": {"calendar": "utc"}}, "meters": {"calls": METER}}},
}  # fmt: skip


@pytest.fixture(scope="module")
def settings(stack: Any) -> Iterator[Settings]:
    with own_database(stack, "audit") as own:
        yield own


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.yaml"
    path.write_text(yaml.safe_dump(CATALOG))
    return path


def test_an_apply_is_recorded_in_its_transaction_or_not_made(settings: Settings, file: Path) -> None:
    with postgres.connect(settings.postgres.owner) as connection:
        connection.execute("REVOKE INSERT ON audit.entry FROM tidemark_ops")
    with pytest.raises(TidemarkError, match="permission denied"):
        catalog_tool.apply(settings, file, backdate=True)
    assert catalog_tool.show(settings)["revision"] == 0
    with postgres.connect(settings.postgres.owner) as connection:
        connection.execute("GRANT INSERT ON audit.entry TO tidemark_ops")
    done = catalog_tool.apply(settings, file, backdate=True, by="ann")
    (entry,) = entries(settings, "catalog.apply")
    assert (entry.login, entry.stated_by, entry.subject) == (grants.OPS, "ann", "catalog.yaml")
    assert (entry.detail["revision"], entry.detail["backdate"], entry.detail["prune"]) == (done.revision, True, False)
    assert entry.client in {"127.0.0.1", "::1"}
    catalog_tool.apply(settings, file, backdate=True)
    assert len(entries(settings, "catalog.apply")) == 1, "nothing was changed"


def test_nobody_writes_another_login_address_or_time(settings: Settings) -> None:
    with postgres.connect(settings.postgres.ledger) as connection:
        connection.execute(
            "INSERT INTO audit.entry (at, login, client, stated_by, run_id, action, subject, detail)"
            " VALUES ('2001-01-01', 'ann', '203.0.113.9', 'ann', '', 'made.up', 'x', '{}')"
        )
    (entry,) = entries(settings, "made.up")
    assert (entry.login, entry.client == "203.0.113.9", entry.at.year > 2001) == (grants.LEDGER, False, True)


@pytest.mark.parametrize("statement", ["UPDATE {} SET login = ''", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_the_audit_refuses_its_owner_too(settings: Settings, statement: str) -> None:
    with (
        postgres.connect(settings.postgres.owner) as connection,
        pytest.raises(psycopg.errors.IntegrityError, match="the audit only grows"),
    ):
        connection.execute(statement.format("audit.entry").encode())


def test_keys_are_recorded_with_who_made_rotated_and_revoked_them(settings: Settings) -> None:
    with postgres.connect(settings.postgres.ops) as connection:
        postgres.use_schema(connection, key_store.SCHEMA)
        old = key_store.create(connection, "acme", ["read"], "reports", "ann").key_id
        new = key_store.rotate(connection, old, timedelta(0), "bob").key_id
        key_store.revoke(connection, new, "cleo")
        with pytest.raises(UsageError):
            key_store.revoke(connection, new, "cleo")
    done = [(entry.action, entry.subject, entry.stated_by) for entry in entries(settings, "keys")]
    assert done == [("keys.create", old, "ann"), ("keys.rotate", old, "bob"), ("keys.revoke", new, "cleo")]
    assert entries(settings, "keys.create")[0].detail == {"tenant": "acme", "name": "reports", "scopes": ["read"]}


def test_acknowledgements_retries_and_lifted_suspensions_are_recorded(settings: Settings) -> None:
    with postgres.connect(settings.postgres.owner) as connection:
        postgres.use_schema(connection, settings.names.usage_schema)
        connection.execute(
            "INSERT INTO suspension (tenant_id, customer_id, source_fingerprint, reason, since)"
            " VALUES ('acme', 'bob', 'f-1', 'limit', now())"
        )
    with postgres.connect(settings.postgres.ops) as connection:
        postgres.use_schema(connection, settings.names.usage_schema)
        assert suspend.lift(connection, "", ("acme", "bob"), "ann") == ["f-1"]
        assert suspend.lift(connection, "", ("acme", "bob"), "ann") == []
        assert notifications.revive(connection, "", ["no such"]) == []
    with pytest.raises(UsageError, match="there is no alert"):
        acknowledge(settings, "no such", by="ann")
    (entry,) = entries(settings, "respond")
    assert (entry.subject, entry.detail) == ("acme/bob", {"conditions": ["f-1"]})
    assert entries(settings, "alerts") == entries(settings, "deliver") == []


def test_a_change_outside_postgres_is_recorded_first(settings: Settings) -> None:
    number = audit.record_before(settings, "live.refresh", "redis", by="ann", counters=3)
    (entry,) = entries(settings, "live")
    assert (entry.entry_id, entry.detail) == (number, {"counters": 3})


def test_a_read_by_a_command_leaves_an_entry(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (usage_command, ledger_command):
        monkeypatch.setattr(module, "load", lambda **_: settings)
    for words in ("usage acme bob", "ledger show --tenant acme"):
        assert CliRunner().invoke(app, words.split(), catch_exceptions=False).exit_code == 0
    # Whatever comes of the read: this run has no topics.
    CliRunner().invoke(app, ["explain", "acme", "bob", "calls"])
    done = [(entry.action, entry.subject, entry.login) for entry in entries(settings, "read")]
    assert done == [
        ("read.usage", "acme/bob", grants.OPS), ("read.ledger", "acme", grants.OPS),
        ("read.explain", "acme/bob", grants.OPS),
    ]  # fmt: skip
    assert entries(settings, "read.explain")[0].detail["asked"]["meter"] == "calls"


def test_sql_of_finance_is_in_the_log_with_login_and_address(stack: Any, settings: Settings) -> None:
    url, login, password = urlsplit(settings.postgres.url), f"fin_{token_hex(4)}", token_hex(16)
    with connect_admin(stack.local.paths, url.port or 0, url.path[1:]) as admin:
        role = sql.Identifier(login)
        made = "CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}; ALTER ROLE {} SET log_statement = 'all'"
        admin.execute(sql.SQL(made).format(role, sql.Literal(password), sql.Identifier(grants.READER), role))
        with psycopg.connect(
            host="127.0.0.1", port=url.port, dbname=url.path[1:], user=login, password=password, autocommit=True
        ) as finance:
            # By both protocols; and who reads cannot turn it off.
            finance.execute("SELECT count(*) FROM report.invoice_line")
            finance.execute("SELECT meter FROM report.invoice_line WHERE tenant_id = %s", ["acme"])
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                finance.execute("SET log_statement = 'none'")
        admin.execute(sql.SQL("DROP ROLE {}").format(role))
    log = (stack.local.paths.logs / "postgres.log").read_text(encoding="utf-8", errors="replace")
    lines = [line for line in log.splitlines() if f"user={login} " in line]
    assert all("client=127.0.0.1" in line for line in lines)
    assert any("SELECT count(*) FROM report.invoice_line" in line for line in lines)
    assert any("WHERE tenant_id = $1" in line for line in lines)


def test_the_command_filters(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_command, "load", lambda: settings)

    def asked(*options: str) -> list[dict[str, Any]]:
        result = CliRunner().invoke(app, ["audit", *options, "--json"], catch_exceptions=False)
        return list(json.loads(result.stdout))

    with postgres.connect(settings.postgres.ops) as connection:
        for by in ("ann", "bob"):
            audit.record(connection, "trial", "replay.promote", by, by=by)
    assert [entry["subject"] for entry in asked("--action", "replay", "--run-id", "trial")] == ["ann", "bob"]
    assert [entry["subject"] for entry in asked("--action", "replay.promote", "--limit", "1")] == ["bob"]
    assert asked("--login", grants.LEDGER, "--action", "replay") == []
    assert asked("--until", "2001-01-01T00:00:00Z") == []
    (migrated,) = [entry for entry in asked("--login", "tidemark") if entry["action"] == "database.migrate"]
    assert "audit: 0001_entry.sql" in migrated["detail"]["files"]
    drawn = CliRunner().invoke(app, ["audit", "--subject", "bob"], catch_exceptions=False).stdout
    assert "replay.promote" in drawn
    assert grants.OPS in drawn
