"""`tidemark dry-run`: tries a catalog on a file of events, without any service."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.cells import cell_len, set_cell_size
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from tidemark.catalog.instants import instant_ms
from tidemark.cli.output import Json, emit, printable, progress
from tidemark.core.errors import UsageError
from tidemark.core.send import open_lines
from tidemark.core.settings import load
from tidemark.dry_run import run
from tidemark.dry_run.fold import GRAINS, Grain
from udfs.meters.meter import BEGINNING_MS

# Rejected events that are listed as text; the JSON document lists all of them.
_REJECTS_SHOWN = 20
_IDS_SHOWN = 5
_WHY = {
    "void_of_a_void": "which is a void: its values are subtracted all the same; send the event again under a new id",
    "no_original": "which is not counted: its values are subtracted all the same",
    "other_values": "which has other values: those of the void are subtracted",
}


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("dry-run")(dry_run)


def dry_run(
    catalog: Annotated[Path, typer.Option(help="Catalog file, as for `tidemark catalog apply`.")],
    events: Annotated[str, typer.Option(help="File with one event a line; - is standard input.")],
    tenant: Annotated[
        str | None, typer.Option(help="Tenant of CloudEvents that name no tenant; default: the only one.")
    ] = None,
    arrival: Annotated[
        str | None, typer.Option(help="RFC 3339 instant at which all events arrived; default: each in time.")
    ] = None,
    grain: Annotated[
        list[str] | None, typer.Option(help="period, day, hour or minute; repeatable. Default: period; in JSON all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Count a file of events as the jobs would with this catalog: rejected events, and the usage of all meters."""
    settings = load()
    grains = _grains(grain or (GRAINS if as_json else ["period"]))
    arrival_ms = None if arrival is None else _instant(arrival)
    source = run.load_catalog(catalog, settings)
    columns = (TextColumn("counting"), TextColumn("{task.completed:,.0f} events"), TimeElapsedColumn())
    with open_lines(events, sys.stdin.buffer) as lines, Progress(*columns, console=progress, transient=True) as bar:
        task = bar.add_task("", total=None)
        model = run.dry_run(
            source, lines, settings, tenant=tenant, arrival_ms=arrival_ms, progress=lambda n: bar.advance(task, n)
        )
    document = run.document(model, grains)
    emit(document, None if as_json else _drawn(document), as_json=as_json)


def _grains(names: list[str] | tuple[Grain, ...]) -> list[Grain]:
    unknown = [name for name in names if name not in GRAINS]
    if unknown:
        raise UsageError(f"grain {unknown[0]!r} is not known.", f"name some of {', '.join(reversed(GRAINS))}.")
    return [grain for grain in GRAINS if grain in names]


def _instant(text: str) -> int:
    try:
        ms = instant_ms(text)
    except ValueError as error:
        raise UsageError(f"arrival: {error}", "write for example 2026-01-31T00:00:00Z.") from None
    if ms == BEGINNING_MS:
        raise UsageError(f"arrival: {text!r} is not an instant.", "write for example 2026-01-31T00:00:00Z.")
    return ms


def _drawn(document: dict[str, Any]) -> str:
    tables = [_usage(grain, rows) for grain, rows in document["usage"].items()]
    rejects = [_rejects(document["rejects"])] if document["rejects"] else []
    return "\n\n".join([*tables, *rejects, "\n".join(map(printable, _summary(document)))])


def _usage(grain: str, rows: list[dict[str, Any]]) -> str:
    cells = [("customer", "meter", grain, "value", "unit")]
    for row in rows:
        bucket = row["day"] if grain == "day" else row["start"]
        if grain == "period":
            bucket = f"{row['start']} - {row['end']}"
        group = "".join(f" {name}={value}" for name, value in row["dims"].items())
        owner = f"{row['tenant_id']}/{row['customer_id']}"
        cells.append((owner, f"{row['meter']}{group}", bucket, _value(row), row["unit"]))
    return _aligned(cells)


def _value(row: dict[str, Any]) -> str:
    percentiles = row.get("percentiles")
    if not percentiles:
        return str(row["value"])
    return " ".join(f"{name}={value}" for name, value in percentiles.items())


def _rejects(rejects: list[dict[str, Any]]) -> str:
    cells = [("line", "rejected", "by meter", "detail")]
    cells += [(str(r["line"]), r["reason"], _refused_by(r), r["detail"]) for r in rejects[:_REJECTS_SHOWN]]
    if len(rejects) > _REJECTS_SHOWN:
        cells.append(("…", "", "", f"{len(rejects) - _REJECTS_SHOWN:,} more: see --json"))
    return _aligned(cells)


def _refused_by(reject: dict[str, Any]) -> str:
    return f"{reject['meter']} (partial)" if reject["partial"] else str(reject["meter"] or "")


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, each row on one line however narrow the terminal: the output may be piped to grep."""
    shown = [[*map(printable, row)] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    padded = ([set_cell_size(cell, width) for cell, width in zip(row, widths, strict=True)] for row in shown)
    return "\n".join("  ".join(row).rstrip() for row in padded)


def _summary(document: dict[str, Any]) -> list[str]:
    counts, voids = document["counts"], document["voids"]
    rejected = sum(counts["rejected"].values())
    where = f"{counts['counted']:,} counted + {counts['duplicates']:,} duplicates + {rejected:,} rejected"
    lines = [f"{counts['read']:,} events = {where}; {counts['unmeasured']:,} of the counted have no meter"]
    lines += [f"rejected: {reason} {count:,}" for reason, count in counts["rejected"].items()]
    partly = counts["partly_rejected"]
    if partly:
        lines.append(f"{sum(partly.values()):,} partial rejections: single meters refused events that others counted")
    lines += [f"partial: {reason} {count:,}" for reason, count in partly.items()]
    if voids["applied"]:
        lines.append(f"voids: {voids['applied']:,} applied")
    for name, title in (("without_original", "without their original"), ("with_other_values", "with other values")):
        if ids := voids[name]:
            more = " …" if len(ids) > _IDS_SHOWN else ""
            lines.append(f"voids {title}: {len(ids):,} ({', '.join(ids[:_IDS_SHOWN])}{more})")
    return lines + [
        f"void {v['event_id']} of {v['tenant_id']}/{v['customer_id']} names {v['voids']}, {_WHY[v['why']]}"
        for v in voids["unmatched"][:_IDS_SHOWN]
    ]
