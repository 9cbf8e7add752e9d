-- The bytes as text; NULL text with bytes means that they are not UTF-8. Each later stage sees only rows without an outcome.
CREATE TABLE decoded AS
WITH read AS (
    SELECT
        *,
        -- A byte order mark at the start is ignored.
        regexp_replace(
            CASE WHEN octet_length(value) <= $max_event_bytes THEN try(decode(value)) END, '^\x{FEFF}', ''
        ) AS body
    FROM opened
)
SELECT
    partition,
    "offset",
    arrival_ms,
    value,
    body,
    CASE
        WHEN value IS NULL OR octet_length(value) = 0   THEN 'empty_value'
        WHEN octet_length(value) > $max_event_bytes     THEN 'event_too_large'
        WHEN body IS NULL                               THEN 'invalid_utf8'
        WHEN regexp_full_match(body, '[ \t\r\n]*')      THEN 'empty_value'
    END AS outcome
FROM read
