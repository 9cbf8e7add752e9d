-- Events that are not counted; and of counted ones what single meters refused, a record for each: its head, and what all
-- of them have in common, the bytes of the event above all.
SELECT decoded_event.reject AS record
FROM decoded
WHERE decoded_event.dedupe_key IS NULL
UNION ALL
SELECT CONCAT(head, SPLIT_INDEX(partial_rejects, U&'\001d', 1)) AS record
FROM first_seen
CROSS JOIN UNNEST(SPLIT(SPLIT_INDEX(partial_rejects, U&'\001d', 0), U&'\001e')) AS refusals (head)
WHERE partial_rejects IS NOT NULL
