-- Sliding windows per customer and meter: every window of a size that holds at least one minute with usage.
-- Parts of a meter other than its plain total are no part of a window.
CREATE OR REPLACE VIEW usage_sliding_customer AS
WITH sizes (window_s, slide_s) AS (VALUES (300, 60), (3600, 300)),
minutes AS (
    SELECT tenant_id, customer_id, meter, epoch(minute_start)::BIGINT AS minute_s, sum(n)::BIGINT AS n, sum(total) AS total
    FROM usage_minute
    WHERE part = ''
    GROUP BY ALL
)
SELECT
    m.tenant_id,
    m.customer_id,
    m.meter,
    s.window_s,
    make_timestamptz(w.start_s * 1000000) AS window_start,
    make_timestamptz((w.start_s + s.window_s) * 1000000) AS window_end,
    sum(m.n)::BIGINT              AS n,
    sum(m.total)::DECIMAL(38, 9)  AS total
FROM minutes AS m
CROSS JOIN sizes AS s
CROSS JOIN LATERAL (
    SELECT m.minute_s - m.minute_s % s.slide_s - k.i * s.slide_s AS start_s
    FROM generate_series(0, s.window_s // s.slide_s - 1) AS k(i)
) AS w
GROUP BY ALL
