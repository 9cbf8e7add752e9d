"""`make dashboards`: the dashboards over a demo with live traffic, as one HTML page and a picture of each.

Grafana is no Debian package. A real Prometheus scrapes the stack (started with `--flink-metrics`), and every query of
every panel runs on it or on the database; a panel without data that should have some is named, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import html
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
import yaml

from infra.dashboards.__main__ import dashboards
from infra.dashboards.answers import Answer, Span, of_postgres, of_prometheus
from infra.dashboards.chart import chart, table
from infra.dashboards.panels import Dashboard, Panel
from infra.local.debian import PROMETHEUS, fetched
from infra.local.paths import Paths
from infra.local.ports import is_free
from infra.local.stack import Stack
from tidemark.core.errors import UnavailableError
from tidemark.core.postgres import connect
from tidemark.core.settings import FILE_ENV, Settings, flat, load
from tidemark.core.terminal import put, say

CONFIG = Path(__file__).parents[1] / "prometheus" / "prometheus.yaml"
# A picture shows no path of a machine.
SETTINGS = {"health.disk_paths": ["/"], "close.interval_s": 15}
SCRAPE_S = 5
PROMQL = "prometheus"
READY_S = 60.0
_REPORTER = re.compile(r"Started PrometheusReporter HTTP server on port (\d+)")
# A column, a row of panels with its gap, and what is around them, in pixels.
_COLUMN, _ROW, _HEAD = 520, 300, 62
_STYLE = """
body { font: 13px sans-serif; margin: 16px; background: #f4f5f5; color: #222 }
h1 { font-size: 19px; margin: 4px 0 10px }
h2 { font-size: 14px; margin: 0 }
p { color: #666; margin: 2px 0 6px; font-size: 11px }
.panels { display: grid; gap: 10px }
section { background: #fff; border: 1px solid #ddd; padding: 8px 12px; height: 290px; overflow: hidden }
section { box-sizing: border-box }
svg { width: 100% }
svg text { font-size: 10px; fill: #666 }
.grid { stroke: #e8e8e8 }
polyline { fill: none; stroke-width: 1.5 }
.legend span { font-size: 11px; margin-right: 12px; white-space: nowrap }
.legend i { display: inline-block; width: 10px; height: 10px; margin-right: 4px }
table { border-collapse: collapse; width: 100%; font-size: 11px }
th { text-align: left; color: #666 }
td, th { padding: 3px 4px; border-bottom: 1px solid #eee }
.number { text-align: right }
.empty { color: #2a7; font-size: 14px; padding: 60px }
"""


def config_for(serve: Sequence[str], flink: Sequence[str]) -> dict[str, Any]:
    """The product's configuration of Prometheus, with the addresses of one stack."""
    targets = {"tidemark": list(serve), "flink": list(flink)}
    made: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    made["global"] = {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": "15s"}
    made["rule_files"] = [str(CONFIG.with_name("rules.yaml"))]
    for job in made["scrape_configs"]:
        job["static_configs"] = [{"targets": targets[job["job_name"]]}]
    return made


def reporters(logs: Path) -> list[str]:
    """Where the processes of Flink answer Prometheus now, by the last line about it of each log."""
    found = [_REPORTER.findall(log.read_text(errors="replace")) for log in sorted(logs.glob("flink-*.log"))]
    return [f"127.0.0.1:{ports[-1]}" for ports in found if ports]


@contextmanager
def prometheus(config: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """A Prometheus on a free port of loopback, with its data in a folder; yields its URL.

    Raises
    ------
    UnavailableError
        It did not get ready.
    """
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(dict(config)))
    address = _free(19_090)
    command = [str(fetched(*PROMETHEUS)), "--config.file", str(folder / "prometheus.yaml"),
               "--storage.tsdb.path", str(folder / "data"), "--web.listen-address", address]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _await_ready(f"http://{address}", folder / "prometheus.log")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def answers(
    settings: Settings, url: str, made: Sequence[Dashboard], spans: Mapping[str, Span]
) -> dict[tuple[str, str], Answer]:
    """What every panel shows, by dashboard and title; `spans` by dashboard, and that of all PromQL."""
    found: dict[tuple[str, str], Answer] = {}
    with connect(settings.postgres) as connection:
        for dashboard in made:
            span = spans[dashboard.uid]
            for panel in dashboard.panels:
                found[dashboard.uid, panel.title] = (
                    of_prometheus(url, panel, spans[PROMQL])
                    if panel.source == "prometheus"
                    else of_postgres(connection, panel, span)
                )
    return found


def missing(made: Sequence[Dashboard], found: Mapping[tuple[str, str], Answer]) -> list[str]:
    """Panels without data that should have some."""
    return [
        f"{dashboard.title}: {panel.title}"
        for dashboard in made for panel in dashboard.panels
        if not panel.empty and not found[dashboard.uid, panel.title].has_data
    ]  # fmt: skip


def page(made: Sequence[Dashboard], found: Mapping[tuple[str, str], Answer]) -> str:
    """Dashboards as one HTML page that needs nothing else."""
    parts = [f'<!doctype html><meta charset="utf-8"><title>Tidemark</title><style>{_STYLE}</style>']
    for dashboard in made:
        columns = f"grid-template-columns: repeat({_columns(dashboard)}, 1fr)"
        parts.append(f'<h1>{html.escape(dashboard.title)}</h1><div class="panels" style="{columns}">')
        parts += [_section(panel, found[dashboard.uid, panel.title]) for panel in dashboard.panels]
        parts.append("</div>")
    return "".join(parts)


def picture(dashboard: Dashboard, found: Mapping[tuple[str, str], Answer], to: Path) -> None:
    """A dashboard as a PNG, by Debian's chromium; raises UnavailableError without one."""
    if not (browser := shutil.which("chromium")):
        raise UnavailableError("there is no chromium to draw with.", "apt-get install chromium")
    columns = _columns(dashboard)
    size = f"{_COLUMN * columns},{_HEAD + _ROW * math.ceil(len(dashboard.panels) / columns)}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(page([dashboard], found), encoding="utf-8")
        options = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--disable-gpu", f"--window-size={size}"]
        options += [f"--user-data-dir={folder}/chromium", f"--screenshot={to.absolute()}"]
        subprocess.run([browser, *options, file.as_uri()], check=True, capture_output=True, timeout=180)


@contextmanager
def live(settings_file: Path) -> Iterator[str]:
    """Flights that land now, and the roles that the local stack leaves out; yields where those answer Prometheus."""
    listen = _free(19_190)
    environment = {**os.environ, FILE_ENV: str(settings_file.absolute()), "TIDEMARK_SERVE__LISTEN": listen}
    tidemark = str(Path(sys.prefix) / "bin/tidemark")
    log = (settings_file.parent / "logs/preview.log").open("wb")
    options: dict[str, Any] = {"env": environment, "stdout": log, "stderr": log}
    traffic = subprocess.Popen([sys.executable, "-m", "infra.dashboards.traffic"], stdout=subprocess.PIPE)
    running = [
        traffic, subprocess.Popen([tidemark, "send", "-"], stdin=traffic.stdout, **options),
        subprocess.Popen([tidemark, "serve", "--roles", "close,archive"], **options),
    ]  # fmt: skip
    try:
        yield listen
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)
        log.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Scrape for some minutes, then write page and pictures; the exit code says whether all panels have data."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("state_dir", type=Path, help="stack of the demo, started with --flink-metrics")
    parser.add_argument("--prepare", action="store_true", help="write settings for the stack, before it is started")
    parser.add_argument("--seconds", type=int, default=180, help="how long to scrape")
    parser.add_argument("--range", action="append", default=[], metavar="UID=FROM/TO", help="dates of a dashboard")
    parser.add_argument("--page", type=Path, help="file of the HTML page")
    parser.add_argument("--pictures", type=Path, help="folder of the PNG files")
    arguments = parser.parse_args(argv)
    paths = Paths.of(arguments.state_dir)
    if arguments.prepare:
        Stack(paths).add_settings({**SETTINGS, "serve.listen": _free(19_390)})
        return 0
    settings = load(**flat(yaml.safe_load(paths.settings.read_text(encoding="utf-8"))))
    made, found = dashboards(settings.names), watched(settings, paths, arguments.seconds, arguments.range)
    if arguments.page:
        arguments.page.write_text(page(made, found), encoding="utf-8")
        put(str(arguments.page))
    for dashboard in made if arguments.pictures else ():
        picture(dashboard, found, arguments.pictures / f"{dashboard.uid}.png")
    without = missing(made, found)
    for title in without:
        say(f"no data: {title}")
    return 1 if without else 0


def watched(settings: Settings, paths: Paths, seconds: int, ranges: Sequence[str]) -> dict[tuple[str, str], Answer]:
    """What every panel shows after some seconds of traffic; `ranges` as of the command line."""
    made, flink = dashboards(settings.names), reporters(paths.logs / "flink")
    with ExitStack() as running:
        folder = running.enter_context(tempfile.TemporaryDirectory(dir=paths.work))
        more = running.enter_context(live(paths.settings))
        config = config_for([settings.serve.listen, more], flink)
        url = running.enter_context(prometheus(config, Path(folder)))
        began = datetime.now(UTC)
        time.sleep(seconds)
        spans = {**_spans(made, ranges), PROMQL: Span(began, datetime.now(UTC))}
        return answers(settings, url, made, spans)


def _columns(dashboard: Dashboard) -> int:
    """Charts alone may stand closer than tables."""
    return 3 if all(panel.kind == "timeseries" for panel in dashboard.panels) else 2


def _spans(made: Sequence[Dashboard], ranges: Sequence[str]) -> dict[str, Span]:
    now = datetime.now(UTC)
    spans = {one.uid: Span(now - timedelta(days=90), now + timedelta(days=1)) for one in made}
    for uid, _, bounds in (one.partition("=") for one in ranges):
        begin, _, end = bounds.partition("/")
        spans[uid] = Span(_day(begin), _day(end))
    return spans


def _free(first: int) -> str:
    return f"127.0.0.1:{next(port for port in range(first, first + 100) if is_free(port))}"


def _day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _section(panel: Panel, answer: Answer) -> str:
    if answer.series:
        body = chart(answer.series, panel.unit)
    elif answer.rows:
        body = table(answer.columns, answer.rows)
    else:
        body = f'<div class="empty">{html.escape(panel.empty or "no data")}</div>'
    return f"<section><h2>{html.escape(panel.title)}</h2><p>{html.escape(panel.description)}</p>{body}</section>"


def _await_ready(url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with suppress(requests.RequestException):
            if requests.get(f"{url}/-/ready", timeout=5).ok:
                return
        time.sleep(0.25)
    raise UnavailableError(f"Prometheus is not ready after {READY_S:.0f} s.", f"read {log}.")


if __name__ == "__main__":
    sys.exit(main())
