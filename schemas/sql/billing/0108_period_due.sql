-- When the next period of each customer ends: a close asks for those that have ended, and walks no others.

CREATE TABLE period_due (
    tenant_id   text        NOT NULL,
    customer_id text        NOT NULL,
    next_end    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, customer_id)
);
CREATE INDEX period_due_next_end ON period_due (next_end, tenant_id, customer_id);

CREATE TABLE period_due_progress (
    singleton        boolean     NOT NULL DEFAULT true PRIMARY KEY CHECK (singleton),
    upto             timestamptz,
    catalog_revision bigint      NOT NULL DEFAULT 0,
    catalog_at       timestamptz,
    versions         text        NOT NULL DEFAULT ''
);
INSERT INTO period_due_progress DEFAULT VALUES;

-- Closed periods that are none any more: their customers are walked again.
CREATE INDEX correction_not_current ON correction (made_at) WHERE NOT is_current;

COMMENT ON TABLE period_due IS 'When the first period of a customer that is not closed ends; an index, made again by `tidemark close`.';
COMMENT ON COLUMN period_due.tenant_id IS 'Tenant of the customer.';
COMMENT ON COLUMN period_due.customer_id IS 'Customer.';
COMMENT ON COLUMN period_due.next_end IS 'No period of the customer that is not closed ends earlier; -infinity: not known.';
COMMENT ON TABLE period_due_progress IS 'One row: up to where usage, catalog and versions are in the table period_due.';
COMMENT ON COLUMN period_due_progress.singleton IS 'Always true: keeps the table to one row.';
COMMENT ON COLUMN period_due_progress.upto IS 'Rollups and corrections written earlier, by the clock of the database, are in it; the next update starts a minute earlier. Null: it is made anew.';
COMMENT ON COLUMN period_due_progress.catalog_revision IS 'Revision of the catalog that it was made with.';
COMMENT ON COLUMN period_due_progress.catalog_at IS 'Instant of that revision.';
COMMENT ON COLUMN period_due_progress.versions IS 'Promoted versions of the rollups that it was made with.';
