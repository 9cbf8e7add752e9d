"""`tidemark quickstart`: a first catalog, a key, one `curl`, and the page with the number."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import psycopg
import requests
import typer

from jobs.flink.rest import FlinkRest
from jobs.flink.submit import JOBS
from tidemark.api import key_store
from tidemark.api.keys import NewKey
from tidemark.catalog import file as catalog_file
from tidemark.catalog import tool as catalog_tool
from tidemark.cli import quickstart_plans as plans
from tidemark.cli.catalog_wait import await_workers
from tidemark.cli.output import Json, emit, say
from tidemark.core.errors import TidemarkError, UnavailableError, UsageError
from tidemark.core.postgres import run_once
from tidemark.core.settings import Settings, load
from tidemark.core.settings.listening import Listening
from tidemark.core.user import user

NAME = "quickstart"
_UP = "`tidemark up --jobs` starts everything on this machine."
# An earlier key may be in use by now; two of them never stay.
_OVERLAP = timedelta(hours=1)
_TIMEOUT_S = 10

Template = Annotated[str | None, typer.Option(help=f"One of {', '.join(plans.TEMPLATES)}; else you are asked.")]
EventType = Annotated[str | None, typer.Option(help="Instead of the first question: what happens.")]
Aggregation = Annotated[
    str | None, typer.Option(help=f"Instead of the second: what adds up, one of {', '.join(plans.AGGREGATIONS)}.")
]
GroupBy = Annotated[str | None, typer.Option(help="Instead of the third: the property that tells it apart, or ''.")]


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command(NAME)(quickstart)


def quickstart(
    template: Template = None,
    event_type: EventType = None,
    aggregation: Aggregation = None,
    group_by: GroupBy = None,
    tenant: Annotated[str, typer.Option(help="Who sells by usage.")] = NAME,
    customer: Annotated[str, typer.Option(help="Who is billed.")] = "c-7",
    file: Annotated[Path, typer.Option(help="Where the catalog is written.")] = Path("quickstart.yaml"),
    as_json: Json = False,
) -> None:
    """Measure something first: a catalog by a template or three questions, a key, one `curl`, and the number.

    May be repeated: the catalog stays as it is, and there is a new key for the old one, which ends in an hour.
    """
    settings = load()
    api, pages = require_running(settings)
    plan = _plan(template, event_type, aggregation, group_by)
    with _written(file, plans.catalog_text(plan, tenant, customer)):
        _apply(settings, file)
    key = run_once(settings.postgres.ops, NAME, lambda db: key_of(db, tenant), key_store.SCHEMA)
    body = plans.event(plan, customer, f"{NAME}-{uuid.uuid4()}", datetime.now(UTC))
    document = {
        "catalog": str(file), "tenant": tenant, "customer": customer, "meter": plan.meter, "expected": plan.quantity,
        "key_id": key.key_id, "key": key.text, "curl": plans.curl(api, key.text, body),
        "page": _page(pages, key, customer), "later": f"{pages}/usage?{urlencode({'customer': customer})}",
    }  # fmt: skip
    emit(document, _text(document), as_json=as_json)


def require_running(settings: Settings) -> tuple[str, str]:
    """Addresses of the API and of the pages, once both answer and both jobs run; raises UnavailableError."""
    api, pages = _address("api", settings.api), _address("web", settings.web)
    for role, url in (("api", f"{api}/openapi.json"), ("web", f"{pages}/sign-in")):
        try:
            requests.get(url, timeout=_TIMEOUT_S).raise_for_status()
        except requests.RequestException as error:
            raise UnavailableError(f"the role {role} does not answer at {url}: {type(error).__name__}.", _UP) from error
    rest = FlinkRest(settings.flink)
    idle = [job for job in JOBS if rest.active(settings.names.job(job)) is None]
    if idle:
        raise UnavailableError(f"nothing is counted: {' and '.join(idle)} do not run.", _UP)
    return api, pages


def _address(role: str, listening: Listening) -> str:
    """URL of a role on this machine; raises UnavailableError where it is off."""
    if listening.address is None:
        raise UnavailableError(f"{role}.listen is off: nothing answers HTTP here.", _UP)
    host, port = listening.address
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else f"[{host}]" if ":" in host else host  # noqa: S104  no binding
    return f"http://{shown}:{port}"


def _plan(template: str | None, event_type: str | None, aggregation: str | None, group_by: str | None) -> plans.Plan:
    answers = (event_type, aggregation, group_by)
    if template is not None:
        if any(answer is not None for answer in answers):
            raise UsageError("--template answers the questions.", "give it alone, or the answers without it.")
        return plans.template(template)
    if event_type is None and not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask at.",
            f"give --template {'|'.join(plans.TEMPLATES)}, or --event-type, --aggregation and --group-by.",
        )
    return _asked(event_type, aggregation, group_by)


def _asked(event_type: str | None, aggregation: str | None, group_by: str | None) -> plans.Plan:
    """Ask what was not given; without a terminal the second and third have their defaults."""
    ask = sys.stdin.isatty()
    if event_type is None:
        event_type = str(typer.prompt("1. What happens that you charge for, in a word?", "completion", err=True))
    if aggregation is None:
        ways = ", ".join(f"{name}: {meaning}" for name, meaning in plans.AGGREGATIONS.items())
        aggregation = str(typer.prompt(f"2. What of it adds up? {ways}", "sum", err=True)) if ask else "sum"
    if group_by is None:
        question = "3. Which property tells it apart, such as model or region? Empty: none"
        group_by = str(typer.prompt(question, "", show_default=False, err=True)) if ask else ""
    return plans.answered(event_type, aggregation, group_by.strip())


@contextmanager
def _written(file: Path, text: str) -> Iterator[None]:
    """Have a catalog file, which stays unless it is new and cannot be applied; raises UsageError for another one."""
    is_new = not file.exists()
    try:
        if is_new:
            file.write_text(text, encoding="utf-8")
        there = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be the catalog: {error}.", "give another place with --file.") from error
    if there != text:
        raise UsageError(
            f"{file} is there and says something else.",
            f"`tidemark catalog apply {file}` applies it; or give another place with --file.",
        )
    try:
        yield
    except TidemarkError:
        if is_new:
            file.unlink()
        raise


def _apply(settings: Settings, file: Path) -> None:
    """Apply the catalog where nobody has to be asked, and wait until all workers count by it."""
    made = catalog_tool.preview(settings, file).plan
    catalog_file.fail(file, made.faults)
    if made.confirmations:
        raise UsageError(f"{file} changes what is there.", f"look at it and agree: `tidemark catalog apply {file}`.")
    applied = catalog_tool.apply(settings, file, agreed=()).plan
    await_workers(settings)
    begins_s = max((change.valid_from_ms for change in applied.changes), default=0) / 1_000
    if (pause_s := begins_s - time.time()) > 0:
        say(f"what is new of a tenant that is there begins with a minute: waiting {pause_s:.0f} s …")
        time.sleep(pause_s)


def key_of(db: psycopg.Connection, tenant: str) -> NewKey:
    """A key that sends and reads, in the place of the one that an earlier call made."""
    for earlier in key_store.listed(db, tenant, everything=False):
        if earlier.name == NAME and earlier.replaced_by is None:
            return key_store.rotate(db, earlier.key_id, _OVERLAP, user())
    return key_store.create(db, tenant, ("ingest", "read"), NAME, user())


def _page(pages: str, key: NewKey, customer: str) -> str:
    """Address of the page of a customer, which needs no signing in for a while; raises UnavailableError."""
    headers = {"Authorization": f"Bearer {key.text}"}
    try:
        answer = requests.post(f"{pages}/embed-tokens", {"customer": customer}, headers=headers, timeout=_TIMEOUT_S)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise UnavailableError(f"{pages} gives no address of a page: {error}.", "try again.") from error
    return f"{pages}{answer.json()['path']}"


def _text(made: dict[str, object]) -> str:
    return f"""1. Send an event. Sent again it is the same event, and counts once:

{made["curl"]}

2. See {made["expected"]} more in {made["meter"]} within seconds, on the page of {made["customer"]}:

{made["page"]}

   This address is good for a quarter of an hour. Later it is {made["later"]}, signed in by the key,
   which is shown this once. In the terminal: tidemark usage {made["tenant"]} {made["customer"]}

3. {made["catalog"]} says what is measured: put your own words there, and tidemark catalog apply {made["catalog"]}"""
