"""The preview of the dashboards: what it scrapes, what it asks, how it draws, and that it says what is missing."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from infra.dashboards import preview
from infra.dashboards.__main__ import dashboards
from infra.dashboards.answers import Answer, Span, filtered
from infra.dashboards.chart import MOST_ROWS, MOST_SERIES, Series, chart, table
from infra.dashboards.panels import Dashboard, Panel
from tidemark.core.names import Names

SPAN = Span(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
UNSAFE = "<script>alert('c-1')</script>"


def drawn(series: list[Series], unit: str = "short") -> ET.Element:
    """The picture; the legend stands behind it."""
    return ET.fromstring(chart(series, unit).partition("</svg>")[0] + "</svg>")  # noqa: S314  our own text


def test_prometheus_scrapes_the_stack_as_the_product_says_with_the_rules_that_it_has() -> None:
    config = preview.config_for(["127.0.0.1:1", "127.0.0.1:2"], ["127.0.0.1:3"])
    shipped = yaml.safe_load(preview.CONFIG.read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert targets == {"tidemark": ["127.0.0.1:1", "127.0.0.1:2"], "flink": ["127.0.0.1:3"]}
    assert [job["job_name"] for job in shipped["scrape_configs"]] == list(targets)
    assert all(Path(file).is_file() for file in config["rule_files"])


def test_the_reporters_are_where_the_last_start_of_each_process_listens(tmp_path: Path) -> None:
    line = "PrometheusReporter [] - Started PrometheusReporter HTTP server on port {}\n"
    (tmp_path / "flink-a.log").write_text(line.format(9249) + line.format(9251))
    (tmp_path / "flink-b.log").write_text(line.format(9250))
    (tmp_path / "flink-c.log").write_text("nothing\n")
    assert preview.reporters(tmp_path) == ["127.0.0.1:9251", "127.0.0.1:9250"]


def test_the_time_filter_of_a_query_is_put_in_as_grafana_does() -> None:
    bounds = "'2026-01-01T00:00:00+00:00' AND '2026-02-01T00:00:00+00:00'"
    assert filtered("WHERE $__timeFilter(day) AND n > 0", SPAN) == f"WHERE day BETWEEN {bounds} AND n > 0"
    for panel in (one for each in dashboards(Names()) for one in each.panels if one.source == "postgres"):
        assert "$__" not in filtered(panel.queries[0][0], SPAN)


def test_a_chart_has_a_line_for_each_series_on_one_scale_and_no_more_than_can_be_read() -> None:
    root = drawn([Series(f"s{number}", [(0, 0.0), (60, float(number))]) for number in range(MOST_SERIES + 3)])
    assert len(root.findall("polyline")) == MOST_SERIES
    heights = [
        float(point.split(",")[1]) for line in root.findall("polyline") for point in line.attrib["points"].split()
    ]
    assert min(heights) >= 0
    assert "and 3 more" in chart([Series(f"s{number}", [(0, 1.0)]) for number in range(MOST_SERIES + 3)], "short")


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(0.969, "s", "0.969 s"), (0.293, "percentunit", "29.3%"), (2_690, "short", "2,690"), (91_000, "short", "91 k"),
     (5.2e6, "short", "5.2 M"), (0, "short", "0")],
)  # fmt: skip
def test_a_legend_says_the_last_value_in_words_of_a_person(value: float, unit: str, shown: str) -> None:
    assert f"<b>{shown}</b>" in chart([Series("a", [(0, 1.0), (60, value)])], unit)


def test_one_point_of_a_day_is_seen_in_the_middle_with_its_date() -> None:
    root = drawn([Series("closed", [(1_795_910_400, 79.0)])])
    assert len(root.findall("circle")) == 1
    assert [text.text for text in root.findall("text")][-1] == "2026-11-29"


def test_ids_are_text_in_charts_and_tables_and_rows_are_counted() -> None:
    shown = chart([Series(UNSAFE, [(0, 1.0)])], "s")
    shown += table([UNSAFE], [[UNSAFE], [Decimal("12345.5")], [None], [datetime(2026, 1, 2, 3, 4, tzinfo=UTC)]])
    assert "<script" not in shown
    assert "12,345.5" in shown
    assert "2026-01-02 03:04" in shown
    assert re.search("and 2 more rows", table(["n"], [[1]] * (MOST_ROWS + 2)))


def test_a_panel_without_data_is_missing_unless_that_is_good_news() -> None:
    expected = Panel("lag", "How late.", "prometheus", [("up", "")])
    good = Panel("drift", "What differs.", "prometheus", [("up", "")], empty="Nothing differs.")
    made = [Dashboard("d", "D", "now-1h", [expected, good])]
    nothing = {("d", "lag"): Answer(), ("d", "drift"): Answer()}
    assert preview.missing(made, nothing) == ["D: lag"]
    assert "Nothing differs." in preview.page(made, nothing)
    some = {**nothing, ("d", "lag"): Answer(series=[Series("a", [(0, 1.0), (5, 2.0)])])}
    assert preview.missing(made, some) == []
    assert preview.page(made, some).count("<svg") == 1
