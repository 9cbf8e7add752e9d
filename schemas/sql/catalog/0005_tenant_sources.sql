-- Sources a tenant takes events of; others are dead letters.

ALTER TABLE catalog.tenant ADD COLUMN sources text[] CHECK (cardinality(sources) > 0);

COMMENT ON COLUMN catalog.tenant.sources IS 'Sources whose events are counted, the empty text for events without one; null: any.';
