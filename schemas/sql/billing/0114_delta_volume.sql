-- How many events and deltas each tenant has, by month: counted as the index of deltas takes them, in its transaction.

CREATE TABLE delta_volume (
    deltas_topic text   NOT NULL,
    tenant_id    text   NOT NULL,
    month        date   NOT NULL CHECK (extract(day FROM month) = 1),
    events       bigint NOT NULL CHECK (events >= 0),
    deltas       bigint NOT NULL CHECK (deltas > 0),
    PRIMARY KEY (deltas_topic, tenant_id, month)
);

COMMENT ON TABLE delta_volume IS 'Events and deltas of each tenant and month of event time, of the run itself: replays count the same events again. Written with delta_range; deltas that were indexed before this table was made are not in it.';
COMMENT ON COLUMN delta_volume.deltas_topic IS 'Topic of the deltas.';
COMMENT ON COLUMN delta_volume.tenant_id IS 'Tenant of the events.';
COMMENT ON COLUMN delta_volume.month IS 'First day of the month of event time, UTC.';
COMMENT ON COLUMN delta_volume.events IS 'Counted events, each once, however many meters it feeds.';
COMMENT ON COLUMN delta_volume.deltas IS 'Records of the topic of deltas.';
