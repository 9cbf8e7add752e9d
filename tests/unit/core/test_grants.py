"""Rights in Postgres by role: what the file grants on the tables of a run."""

from __future__ import annotations

import pytest

from tidemark.core.grants import LEDGER, OPS, OWNER, READER, ROLES, TENANT, WRITER, Right, Schema, read, rights, users

BILLING = Schema("billing", "billing_trial", ("period_close", "outbox_position", "schema_migration"))
REPORT = Schema("report", "report_trial", ("invoice_line", "own_invoice_line", "schema_migration"))
USAGE = Schema("usage", "usage_trial", ("usage_period", "alert"))
GROWING = ("period_close", "period_close_line", "correction", "correction_line", "outbox", "erasure", "replay_decision")


def granted(role: str, *schemas: Schema) -> set[tuple[str, str]]:
    return {(right.privilege, right.relation) for right in rights(read(), schemas) if right.role == role}


def test_every_role_but_the_owner_is_in_the_file() -> None:
    assert {OWNER, *read()} == {*ROLES}


def test_rights_are_on_the_schema_of_the_run() -> None:
    assert Right(LEDGER, "INSERT", "billing_trial", "period_close") in rights(read(), [BILLING])


@pytest.mark.parametrize("role", [WRITER, LEDGER, OPS, READER, TENANT])
def test_nobody_changes_or_removes_what_only_grows(role: str) -> None:
    schemas = [Schema("billing", "billing", GROWING), Schema("catalog", "catalog", ("change",)),
               Schema("api", "api", ("read_audit",)),
               Schema("audit", "audit", ("entry", "approval_use", "two_person"))]  # fmt: skip
    assert {privilege for privilege, _ in granted(role, *schemas)} <= {"SELECT", "INSERT"}


def test_the_ledger_is_added_to_by_closing_alone() -> None:
    on_closes = [right for right in rights(read(), [BILLING]) if right.relation == "period_close"]
    assert {right.role for right in on_closes if right.privilege != "SELECT"} == {LEDGER}


def test_rollups_are_written_by_the_jobs_alone() -> None:
    on_totals = [right for right in rights(read(), [USAGE]) if right.relation == "usage_period"]
    assert {right.role for right in on_totals if right.privilege != "SELECT"} == {WRITER}


def test_finance_and_tenants_read_views_and_nothing_else() -> None:
    assert granted(READER, BILLING, USAGE, REPORT) == {("SELECT", "invoice_line"), ("SELECT", "own_invoice_line")}
    assert granted(TENANT, BILLING, USAGE, REPORT) == {("SELECT", "own_invoice_line")}
    assert users(read(), "billing") == [LEDGER, OPS]


def test_migrations_are_seen_by_who_operates() -> None:
    seen = {right.role for right in rights(read(), [BILLING, REPORT]) if right.relation == "schema_migration"}
    assert seen == {OPS}
