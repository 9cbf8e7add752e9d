-- Events that are not counted; and of counted ones what single meters refused, a record for each: its head, and what all
-- of them have in common, the bytes of the event above all. udfs.wire.PartialRejects says how they are packed.
SELECT decoded_event.reject AS record
FROM decoded
WHERE decoded_event.dedupe_key IS NULL
UNION ALL
SELECT CONCAT(head, $partial_common) AS record
FROM first_seen
CROSS JOIN UNNEST($partial_heads) AS refusals (head)
WHERE partial_rejects IS NOT NULL
