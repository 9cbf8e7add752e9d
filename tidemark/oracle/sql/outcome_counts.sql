-- How many offsets had each outcome.
CREATE VIEW outcome_counts AS
SELECT outcome, count(*) AS events
FROM outcomes
GROUP BY outcome
