-- Amounts that the final total of a period has reached, by the limit in force at the latest event time of the counter:
-- the cap, thresholds in amounts or shares of it, and the multiples of recurring thresholds.
CREATE VIEW reached AS
WITH total AS (
    SELECT
        tenant_id, customer_id, meter, epoch_ms(period_start) AS period_start, epoch_ms(max(minute_utc)) AS at_ms,
        sum(amount)::DECIMAL(38, 9) AS total
    FROM usage WHERE part = ''
    GROUP BY tenant_id, customer_id, meter, usage.period_start
    UNION ALL
    SELECT
        tenant_id, customer_id, meter, epoch_ms(period_start), epoch_ms(max(minute_utc)),
        count(DISTINCT part)::DECIMAL(38, 9)
    FROM usage WHERE part LIKE 'u%'
    GROUP BY tenant_id, customer_id, meter, usage.period_start
),
candidate AS (
    SELECT t.*, l.scope, l.scope_id, l.cap, l.mode, l.thresholds,
        row_number() OVER (
            PARTITION BY t.tenant_id, t.customer_id, t.meter, t.period_start
            ORDER BY list_position(['customer', 'plan', 'tenant'], l.scope)
        ) AS rank
    FROM total AS t
    JOIN steps AS s ON t.at_ms >= s.from_ms AND t.at_ms < s.to_ms
    LEFT JOIN customers AS c ON c.step = s.step AND c.tenant_id = t.tenant_id AND c.customer_id = t.customer_id
    JOIN limits AS l ON l.step = s.step AND l.tenant_id = t.tenant_id AND l.meter = t.meter
        AND l.scope_id = CASE l.scope WHEN 'tenant' THEN '' WHEN 'plan' THEN c.plan ELSE t.customer_id END
),
stated AS (
    SELECT * EXCLUDE (thresholds), unnest(thresholds, max_depth := 2) FROM candidate WHERE rank = 1
)
SELECT tenant_id, customer_id, meter, period_start, 'cap' AS threshold, cap AS amount, total
FROM candidate WHERE rank = 1 AND total >= cap
UNION ALL
SELECT tenant_id, customer_id, meter, period_start, threshold, amount, total
FROM stated WHERE NOT recurring AND amount <> cap AND total >= amount
UNION ALL
SELECT tenant_id, customer_id, meter, period_start, threshold, (amount * step)::DECIMAL(38, 9), total
FROM (
    SELECT *, unnest(range(1, (billionths(total) // billionths(amount))::BIGINT + 1)) AS step
    FROM stated WHERE recurring AND total >= amount
)
