-- The final value of a meter over the measurements of a group: NULL where no measurement defines it.
CREATE MACRO quotient_floor(a, b) AS a // b - CASE WHEN a % b < 0 THEN 1 ELSE 0 END;

-- a / b in units of 10^-9, rounded half to even; b > 0.
CREATE MACRO rounded_quotient(a, b) AS
    quotient_floor(a, b) + CASE
        WHEN 2 * (a - b * quotient_floor(a, b)) > b                                         THEN 1
        WHEN 2 * (a - b * quotient_floor(a, b)) = b AND quotient_floor(a, b) % 2 <> 0       THEN 1
        ELSE 0
    END;

CREATE MACRO divided(amount, divisor) AS
    of_billionths(rounded_quotient(billionths(amount) * sign(divisor)::HUGEINT, abs(divisor)::HUGEINT));

-- The smallest value that at least p per cent of the values do not exceed.
CREATE MACRO ranked(sorted, percent) AS sorted[greatest(1, (len(sorted) * percent + 99) // 100)];

-- Voids take back only additive amounts: see `samples` and `amount` of usage.
CREATE TABLE raw_values AS
SELECT
    tenant_id, customer_id, meter, dims, aggregation, event_ms, nanos, source, event_id, minute_utc, day, period_start, amount,
    samples, value_text, is_void
FROM usage
WHERE part <> 'm' AND aggregation <> 'weighted_sum';

CREATE MACRO final_values(bucket, rare) AS TABLE
WITH grouped AS (
    SELECT
        tenant_id, customer_id, meter, dims,
        CASE bucket
            WHEN 'minute' THEN timezone('UTC', minute_utc)
            WHEN 'hour'   THEN timezone('UTC', date_trunc('hour', minute_utc))
            WHEN 'period' THEN period_start
        END                                                                                 AS start_at,
        CASE WHEN bucket = 'day' THEN day END                                               AS on_day,
        any_value(aggregation)                                                              AS aggregation,
        sum(samples)::BIGINT                                                                AS samples,
        sum(amount)::DECIMAL(38, 9)                                                         AS total,
        min(amount) FILTER (WHERE samples > 0)                                              AS lo,
        max(amount) FILTER (WHERE samples > 0)                                              AS hi,
        arg_max(amount, (event_ms, nanos, source, event_id))
            FILTER (WHERE samples > 0 AND aggregation = 'latest')                           AS newest,
        count(DISTINCT value_text) FILTER (WHERE samples > 0 AND aggregation = 'unique')    AS different,
        list(amount ORDER BY amount) FILTER (WHERE samples > 0 AND aggregation = 'percentile') AS sorted
    FROM raw_values
    WHERE rare OR aggregation <> 'unique'
    GROUP BY ALL
)
SELECT
    tenant_id, customer_id, meter, dims, start_at, on_day, samples,
    CASE
        WHEN aggregation IN ('count', 'sum')                 THEN total
        WHEN aggregation = 'min'                             THEN lo
        WHEN aggregation = 'max'                             THEN hi
        WHEN aggregation = 'avg' AND samples > 0             THEN divided(total, samples)
        WHEN aggregation = 'latest'                          THEN newest
        WHEN aggregation = 'unique' AND different > 0        THEN different::DECIMAL(38, 9)
        WHEN aggregation = 'percentile'                      THEN ranked(sorted, 50)
    END                                                      AS value,
    ranked(sorted, 50)                                       AS p50,
    ranked(sorted, 95)                                       AS p95,
    ranked(sorted, 99)                                       AS p99
FROM grouped
WHERE value IS NOT NULL;
