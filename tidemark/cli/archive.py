"""`tidemark archive` and `tidemark erase`: raw records in Parquet files, and the erasure of personal data in them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from tidemark.archive import adopt as archive_adopt
from tidemark.archive import archiver
from tidemark.archive import erase as archive_erase
from tidemark.archive import publish as archive_publish
from tidemark.archive import verify as archive_verify
from tidemark.archive.index import Gap
from tidemark.archive.index import as_json as as_json_of
from tidemark.archive.remaining import Copy
from tidemark.cli.known import known
from tidemark.cli.output import Json, Table, emit, say
from tidemark.core.settings import load
from tidemark.core.settings.services import redrive_of
from udfs.values import rfc3339

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with a ledger and an archive of its own.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Raw records in Parquet, beyond the retention of Kafka.", no_args_is_help=True)
    group.command("run")(run)
    group.command("verify")(verify)
    group.command("publish")(publish)
    group.command("adopt")(adopt)
    app.add_typer(group, name="archive")
    app.command("erase")(erase)


def run(run_id: RunId = None, as_json: Json = False) -> None:
    """Archive what has arrived in the events topic and the redrive topic, each record once, whenever killed."""
    done = archiver.run(load(run_id=run_id), progress=lambda rows: say(f"archived {rows:,} records"))
    emit(_archived_document(done), _archived_text(done), as_json=as_json)


def verify(run_id: RunId = None, as_json: Json = False) -> None:
    """Check that every file exists unchanged and every offset is in one file or a gap; exit code 4 if not."""
    verified = archive_verify.verify(load(run_id=run_id))
    emit(_verified_document(verified), _verified_text(verified), as_json=as_json)
    verified.raise_if_faulty()


def publish(
    source: Annotated[str, typer.Argument(metavar="FROM", help="Archived topic of events, as it was called.")],
    to: Annotated[str, typer.Argument(metavar="TO", help="New topic of events, which is made; its redrive topic too.")],
    live: Annotated[
        bool, typer.Option("--live", help="Then let producers write to it: arrivals by the broker's clock.")
    ] = False,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Publish archived events and redriven events to new topics, with their arrivals; a killed call is continued."""
    settings = load(run_id=run_id)
    ways = {(source, to), (redrive_of(source), redrive_of(to))}
    done = {name: archive_publish.publish(settings, old, name) for old, name in sorted(ways)}
    if live:
        archive_publish.take_over(settings, to)
    emit(_published_document(done), _published_text(done), as_json=as_json)


def adopt(run_id: RunId = None, as_json: Json = False) -> None:
    """Add files to the index that its folder has and it lacks: the database is of an older backup, or a new one."""
    done = archive_adopt.adopt(load(run_id=run_id), say)
    text = [f"{done.files:,} files with {done.rows:,} records are in the index now", *map(_gap_text, done.gaps)]
    emit(
        {"files": done.files, "rows": done.rows, "gaps": [as_json_of(gap) for gap in done.gaps]}, text, as_json=as_json
    )


def erase(
    tenant: Annotated[str, typer.Argument(help="Tenant id.")],
    customer: Annotated[str, typer.Argument(help="Customer id.")],
    by: Annotated[str, typer.Option("--by", help="Who requests it; kept in the record of erasures.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be erased.")] = False,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Erase the parts of a customer's events that metering does not read from the archive; totals stay as they are."""
    say("reading the archive …")
    settings = load(run_id=run_id)
    done = archive_erase.erase(settings, tenant, customer, by=by, dry_run=dry_run)
    emit(_erased_document(done, dry_run=dry_run), _erased_text(done, dry_run=dry_run), as_json=as_json)
    # A customer without usage and without a catalog entry may still have records, so this check comes last.
    if not (done.events or done.alerts):
        known(settings, tenant, customer)


def _published_document(done: dict[str, archive_publish.Published]) -> dict[str, Any]:
    return {
        name: {"sent": one.sent, "existing": one.existing, "lost": [as_json_of(gap) for gap in one.lost]}
        for name, one in done.items()
    }


def _published_text(done: dict[str, archive_publish.Published]) -> list[str]:
    lines = [f"{name}: {one.sent:,} records sent, {one.existing:,} were there" for name, one in done.items()]
    return [*lines, *(_gap_text(gap) for one in done.values() for gap in one.lost)]


def _archived_document(done: archiver.Archived) -> dict[str, Any]:
    gaps = [as_json_of(gap) for gap in done.gaps]
    return {
        "rows": done.rows, "files": done.files, "bytes": done.size, "lost": done.lost, "gaps": gaps,
        "removed": done.removed, "quarantined": done.quarantined,
    }  # fmt: skip


def _archived_text(done: archiver.Archived) -> list[str]:
    lines = [f"{done.rows:,} records in {done.files:,} files, {done.size:,} bytes"]
    lines += [_gap_text(gap) for gap in done.gaps if gap.reason == "retention"]
    lines += [f"removed a left-over: {path}" for path in done.removed]
    return [*lines, *(f"quarantined, Kafka no longer has its records: {path}" for path in done.quarantined)]


def _gap_text(gap: Gap) -> str:
    size = gap.last - gap.first + 1
    why = "the archive removed them by age" if gap.reason == "expired" else "Kafka had removed them"
    return f"LOST: {size:,} offsets of {gap.topic} {gap.partition}:{gap.first}; {why}"


def _verified_document(verified: archive_verify.Verified) -> dict[str, Any]:
    return {
        "files": verified.files, "rows": verified.rows, "bytes": verified.size, "lost": verified.lost,
        "expired": verified.expired, "not_committed": verified.not_committed, "left_over": verified.left_over,
        "faults": verified.faults,
    }  # fmt: skip


def _verified_text(verified: archive_verify.Verified) -> list[str]:
    missing = f"{verified.lost:,} lost, {verified.expired:,} expired, {verified.not_committed:,} never committed"
    lines = [
        f"{verified.rows:,} records in {verified.files:,} files, {verified.size:,} bytes",
        f"offsets in no file: {missing}",
    ]
    lines += [f"left over, in no index: {path}" for path in verified.left_over]
    lines += [f"FAULT: {fault}" for fault in verified.faults]
    return lines if verified.faults else [*lines, "archive: complete"]


def _erased_document(done: archive_erase.Erased, *, dry_run: bool) -> dict[str, Any]:
    kafka = {topic: _shown(until) for topic, until in done.kafka.items()}
    return {
        "dry_run": dry_run, "erasure_id": done.erasure_id, "erased_at": _shown(done.erased_at),
        "files": [*done.files], "events": done.events, "unreadable": done.unreadable, "alerts": done.alerts,
        "kept": [*done.kept], "kafka": kafka,
        "remaining": [asdict(place) | {"until": _shown(place.until)} for place in done.remaining],
    }  # fmt: skip


def _erased_text(done: archive_erase.Erased, *, dry_run: bool) -> Table:
    table = Table("", "would be" if dry_run else "was", show_header=True)
    table.add_row("files rewritten", f"{len(done.files):,}")
    table.add_row("events that lose data", f"{done.events:,} ({done.unreadable:,} were not valid events)")
    table.add_row("alerts that lose values of events", f"{done.alerts:,}")
    table.add_row("properties that meters read, kept", ", ".join(done.kept) or "none")
    for place in done.remaining:
        table.add_row(f"not erased: {place.kind} {place.name}", _remaining_text(place))
    return table


def _remaining_text(place: Copy) -> str:
    count = "" if place.count is None else f", {place.count:,} of them"
    until = f"; until {_shown(place.until) or 'for ever'}" if place.kind == "topic" else ""
    return f"{place.holds}{count}{until}"


def _shown(moment: Any) -> str | None:
    return None if moment is None else rfc3339(moment)
