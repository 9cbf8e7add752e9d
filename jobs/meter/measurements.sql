-- A row per measurement. Every expression the tick aggregates is computed here or above: an expression inside an aggregate
-- over a processing-time window makes the planner refuse the window once a column above it is pruned.
SELECT * FROM single_measurements
UNION ALL
SELECT * FROM packed_measurements
