-- Each text without the inside of its strings: what is left shows structure, cut-off ends, NaN and stray commas.
CREATE TABLE skeleton AS
SELECT
    partition,
    "offset",
    regexp_replace(
        CASE WHEN contains(body, '\') THEN regexp_replace(body, '\\.', '', 'gs') ELSE body END, '"[^"]*"', '""', 'g'
    ) AS bones
FROM decoded
WHERE outcome IS NULL
