-- UTC instant of a local time: DuckDB moves a skipped one forward by the gap, but takes the last of a repeated one.
CREATE MACRO first_instant(zone, local_at) AS
    coalesce(
        list_min(list_filter(
            [timezone(zone, local_at) - to_minutes(m) FOR m IN [0, 20, 30, 40, 60, 90, 120, 180]],
            lambda candidate: timezone(zone, candidate) = local_at
        )),
        timezone(zone, local_at)
    )
