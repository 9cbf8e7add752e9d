"""What makes each start and each end of a condition one alert, on a mini-cluster: the last status, and transitions."""

from __future__ import annotations

import json
from hashlib import md5
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


def ids(env: TableEnvironment, rows: list[tuple[str, str, str, int]]) -> list[str]:
    """Ids of alerts by tenant and time, given fingerprint, tenant, time and transition of each."""
    env.get_config().set("parallelism.default", "1")
    values = ", ".join(
        f'(\'{fingerprint}\', \'{tenant}\', \'"specversion":"1.0","time":"{at}"}}\', CAST({transition} AS BIGINT))'
        for fingerprint, tenant, at, transition in rows
    )
    env.execute_sql(
        "CREATE TEMPORARY VIEW alert_news AS "
        f"SELECT * FROM (VALUES {values}) AS v (fingerprint, tenant_id, body, transition)"
    )
    select = statement("meter", "insert_alerts", into="").partition("INSERT INTO alerts_sink")[2]
    # Rows of VALUES come in any order.
    with env.execute_sql(select).collect() as found:
        made = sorted((row[0], (alert := json.loads(row[1]))["time"], alert["id"]) for row in found)
    return [alert_id for _, _, alert_id in made]


def test_ids_are_those_of_the_transition_and_of_a_condition_without_a_period_of_its_begin_too(
    env: TableEnvironment,
) -> None:
    # The count of transitions is state with a TTL: after a quiet time it begins anew.
    once, later = "2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z"
    first, second, limit, same = ids(
        env, [("p", "", once, 1), ("p", "", later, 1), ("l", "acme", once, 1), ("l", "acme", later, 1)]
    )
    assert first != second
    assert limit == same == md5(b"l:1", usedforsecurity=False).hexdigest()


def test_a_status_passes_when_it_is_news_and_an_end_only_after_a_begin(env: TableEnvironment, tmp_path: Path) -> None:
    alerts = ["a,firing", "a,firing", "b,resolved", "a,resolved", "a,resolved", "b,firing", "a,firing", "b,resolved"]
    passed = news(env, tmp_path / "alerts.csv", alerts)
    #  a: begins (0), repeats, ends (3), repeats, begins again (6);  b: an end of nothing, begins (5), ends (7)
    assert sorted(passed) == [("a", "0", 1), ("a", "3", 2), ("a", "6", 3), ("b", "5", 1), ("b", "7", 2)]
