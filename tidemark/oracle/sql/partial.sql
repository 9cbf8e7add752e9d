-- Refusals of single meters where other meters count the event: a row for each meter, for the first of all copies.
CREATE TABLE partial AS
SELECT m.partition, m."offset", m.meter, m.refusal
FROM measured AS m
JOIN outcomes AS v ON v.partition = m.partition AND v."offset" = m."offset" AND v.outcome = 'counted'
WHERE m.refusal IS NOT NULL
