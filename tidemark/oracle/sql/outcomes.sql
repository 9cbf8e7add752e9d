-- How many offsets ended in which way.
CREATE VIEW outcomes AS
SELECT verdict, count(*) AS events
FROM verdicts
GROUP BY verdict
