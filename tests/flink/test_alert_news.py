"""What makes each start and each end of a condition one alert, on a mini-cluster: the last status, and transitions."""

from __future__ import annotations

from pathlib import Path

from pyflink.table import TableEnvironment

from jobs.flink.statements import statement

COLUMNS = "fingerprint STRING, status STRING, tenant_id STRING, body STRING, seen_at AS PROCTIME()"


def news(env: TableEnvironment, file: Path, alerts: list[str]) -> list[tuple[str, str, int]]:
    """Fingerprint, body and transition of what passes, given `fingerprint,status` in their order."""
    env.get_config().set("parallelism.default", "1")
    file.write_text("".join(f"{alert},acme,{place}\n" for place, alert in enumerate(alerts)))
    env.execute_sql(
        f"CREATE TEMPORARY TABLE alert_candidates ({COLUMNS}) "
        f"WITH ('connector' = 'filesystem', 'path' = 'file://{file}', 'format' = 'csv')"
    )
    for view in ("alert_statuses", "alert_news"):
        env.create_temporary_view(view, env.sql_query(statement("meter", view)))
    with env.execute_sql("SELECT fingerprint, body, transition FROM alert_news").collect() as rows:
        return [(row[0], row[1], row[2]) for row in rows]


def test_a_status_passes_when_it_is_news_and_an_end_only_after_a_begin(env: TableEnvironment, tmp_path: Path) -> None:
    alerts = ["a,firing", "a,firing", "b,resolved", "a,resolved", "a,resolved", "b,firing", "a,firing", "b,resolved"]
    passed = news(env, tmp_path / "alerts.csv", alerts)
    #  a: begins (0), repeats, ends (3), repeats, begins again (6);  b: an end of nothing, begins (5), ends (7)
    assert sorted(passed) == [("a", "0", 1), ("a", "3", 2), ("a", "6", 3), ("b", "5", 1), ("b", "7", 2)]
