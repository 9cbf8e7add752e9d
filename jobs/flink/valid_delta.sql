-- Whether a record of the topic of deltas is one that `meter` may have written: what is not JSON has no columns. Any other would
-- end the job again and again, by a key that no table takes or a total that does not fit. Who reads the topic outside of
-- Flink says how many there are (`tidemark.core.deltas`).
tenant_id IS NOT NULL AND customer_id IS NOT NULL AND meter IS NOT NULL
    AND NOT REGEXP(tenant_id || customer_id || meter, '[\x00-\x1f\x7f]')
    AND dims IS NOT NULL AND part IS NOT NULL AND NOT REGEXP(dims || part || COALESCE(latest, ''), '\x00')
    -- In base64, to count bytes: an index of Postgres takes 2 704, and no key that is written has 2 000.
    AND CHAR_LENGTH(TO_BASE64(tenant_id || customer_id || meter || dims || part)) <= 3000
    AND n BETWEEN 1 AND 1000000000000 AND samples BETWEEN -1000000000000 AND 1000000000000
    -- The most that ten of them may have.
    AND total > -1E28 AND total < 1E28
    AND (lo IS NULL) = (hi IS NULL) AND COALESCE(lo <= hi, TRUE)
    AND TRY_CAST(`day` AS DATE) BETWEEN DATE '1969-12-30' AND DATE '2100-01-03'
    AND FLOOR(CAST(`minute` AS TIMESTAMP(3)) TO MINUTE) = CAST(`minute` AS TIMESTAMP(3))
    AND CAST(`minute` AS TIMESTAMP(3)) BETWEEN TIMESTAMP '1970-01-01 00:00:00' AND TIMESTAMP '2100-01-01 00:00:00'
    AND FLOOR(CAST(period_start AS TIMESTAMP(3)) TO SECOND) = CAST(period_start AS TIMESTAMP(3))
    AND FLOOR(CAST(period_end AS TIMESTAMP(3)) TO SECOND) = CAST(period_end AS TIMESTAMP(3))
    AND period_start < period_end
    AND CAST(period_start AS TIMESTAMP(3)) > TIMESTAMP '1800-01-01 00:00:00'
    AND CAST(period_end AS TIMESTAMP(3)) < TIMESTAMP '2300-01-01 00:00:00'
