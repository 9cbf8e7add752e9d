-- What single meters refuse of events that others count: a row for each meter, of the first of all copies.
CREATE TABLE partial AS
SELECT m.partition, m."offset", m.meter, m.refusal
FROM measured AS m
JOIN verdicts AS v ON v.partition = m.partition AND v."offset" = m."offset" AND v.verdict = 'counted'
WHERE m.refusal IS NOT NULL
