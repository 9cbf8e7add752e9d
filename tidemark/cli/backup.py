"""`tidemark backup`: what is in Postgres alone, saved, tried, and restored."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tidemark.backup import make, manifest
from tidemark.backup import restore as backup_restore
from tidemark.backup import verify as backup_verify
from tidemark.cli.by import By
from tidemark.cli.output import Json, Table, emit, say
from tidemark.core.places import Place
from tidemark.core.settings import Settings, load
from tidemark.reconcile.findings import Outcome

RunId = Annotated[str | None, typer.Option("--run-id", help="The run whose topics and jobs the backup names.")]
From = Annotated[str, typer.Argument(metavar="FROM", help="Folder, or file: or s3: URI, that `backup run` printed.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="What is in Postgres alone: saved, tried, restored.", no_args_is_help=True)
    group.command("run")(run)
    group.command("verify")(verify)
    group.command("restore")(restore)
    app.add_typer(group, name="backup")


def run(
    to: Annotated[
        str, typer.Argument(metavar="TO", help="Folder, or file: or s3: URI; each backup is a folder in it.")
    ],
    savepoint: Annotated[
        bool, typer.Option(help="Take a savepoint of `rollup`, from which the tables are made whole after a restore.")
    ] = True,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Save all tables of all runs, of one instant, and where topics and jobs were; no secrets."""
    place, made = make.run(load(run_id=run_id), to, say, savepoint=savepoint)
    document = {"place": place.uri, "made_at": made.made_at, "rows": made.rows, "bytes": made.size, "state": made.state}
    emit(document, _made_text(place, made), as_json=as_json)


def verify(
    source: From,
    database: Annotated[str, typer.Option(help="Empty database of the server to try it in; default: a new one.")] = "",
    as_json: Json = False,
) -> None:
    """Restore into a database that is dropped again, and check it; exit code 4 if something is wrong."""
    settings = load()
    place, found = _opened(settings, source)
    done = backup_verify.verify(settings, place, found, say, database)
    emit(_verified_document(found, done), _verified_text(found, done), as_json=as_json)
    done.raise_if_faulty()


def restore(source: From, by: By = "", as_json: Json = False) -> None:
    """Restore into the database of `postgres.url`, which is empty; prints what to do then."""
    settings = load()
    place, found = _opened(settings, source)
    applied = backup_restore.run(settings, place, found, say, by)
    then = _then(found)
    document = {"made_at": found.made_at, "rows": found.rows, "applied": applied, "then": then}
    emit(document, [f"{found.rows:,} rows of {found.made_at} are restored", *then], as_json=as_json)


def _opened(settings: Settings, source: str) -> tuple[Place, manifest.Manifest]:
    place = Place(source, settings.s3, "the place of the backup")
    return place, manifest.read(place)


def _then(found: manifest.Manifest) -> list[str]:
    run = f" --run-id {found.run_id}" if found.run_id else ""
    if "rollup" in found.state:
        return [f"then: tidemark submit rollup{run} --from-savepoint {found.state['rollup']}"]
    return [f"then: tidemark submit rollup{run} --from-beginning"]


def _made_text(place: Place, made: manifest.Manifest) -> list[str]:
    return [
        f"{made.rows:,} rows in {len(made.tables)} tables, {made.size:,} bytes, of {made.made_at}",
        f"savepoint of rollup: {made.state.get('rollup', 'none')}",
        f"backup: {place.uri}",
    ]


def _verified_document(found: manifest.Manifest, done: backup_verify.Verified) -> dict[str, Any]:
    outcomes = {name: outcome.document() for name, outcome in done.outcomes.items()}
    return {
        "made_at": found.made_at, "rows": found.rows, "bytes": found.size, "seconds": done.seconds,
        "applied": done.applied, "checks": outcomes, "faults": done.faults,
    }  # fmt: skip


def _verified_text(found: manifest.Manifest, done: backup_verify.Verified) -> Table:
    table = Table("what", "result", show_header=True)
    table.add_row("backup of", found.made_at)
    table.add_row("checksums", f"{found.rows:,} rows in {len(found.tables)} tables are as they were written")
    table.add_row("migrations since", ", ".join(done.applied) or "none")
    for name, outcome in done.outcomes.items():
        table.add_row(name, _outcome_text(outcome))
    table.add_row("archive", f"{len(done.missing):,} files missing" if done.missing else "all files of the index")
    for step, seconds in done.seconds.items():
        table.add_row(f"time to {step}", f"{seconds} s")
    return table


def _outcome_text(outcome: Outcome) -> str:
    if outcome.not_checked:
        return f"not checked: {outcome.not_checked}"
    return f"{outcome.compared:,} compared, {outcome.differing:,} differ"
