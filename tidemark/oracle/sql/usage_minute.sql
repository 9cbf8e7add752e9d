-- Totals by minute of event time, but for the values of unique meters.
CREATE VIEW usage_minute AS
FROM delta_minutes
WHERE NOT starts_with(part, 'u')
