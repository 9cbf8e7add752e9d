-- Records without the envelope of a redriven event: a first line that is a JSON object with `tidemark_meter` means that
-- the event after it is for that meter alone. Only the redrive topic (partitions below 0) has such lines.
CREATE TABLE opened AS
WITH read AS (
    SELECT *, CASE WHEN partition < 0 THEN try(decode(value)) END AS text FROM raw
),
cut AS (
    SELECT *, CASE WHEN starts_with(text, '{"tidemark_meter":') THEN nullif(strpos(text, chr(10)), 0) END AS line_end FROM read
),
headed AS (
    SELECT *, CASE WHEN json_valid(text[:line_end - 1]) THEN json_extract_string(text[:line_end - 1], '$.tidemark_meter') END AS only_meter
    FROM cut
)
SELECT
    partition, "offset", arrival_ms, only_meter,
    CASE WHEN only_meter IS NULL THEN value ELSE encode(text[line_end + 1:]) END AS value
FROM headed
