-- The ledger is chained: each close and correction has the hash of the one of its tenant before it. Those that were
-- written before this migration have none, and are not changed.

ALTER TABLE period_close
    ADD COLUMN chain_no      bigint CHECK (chain_no > 0),
    ADD COLUMN previous_hash text CHECK (previous_hash ~ '^[0-9a-f]{64}$'),
    ADD COLUMN record_hash   text CHECK (record_hash ~ '^[0-9a-f]{64}$'),
    ADD CONSTRAINT period_close_chained CHECK (num_nulls(chain_no, previous_hash, record_hash) IN (0, 3));
ALTER TABLE correction
    ADD COLUMN chain_no      bigint CHECK (chain_no > 0),
    ADD COLUMN previous_hash text CHECK (previous_hash ~ '^[0-9a-f]{64}$'),
    ADD COLUMN record_hash   text CHECK (record_hash ~ '^[0-9a-f]{64}$'),
    ADD CONSTRAINT correction_chained CHECK (num_nulls(chain_no, previous_hash, record_hash) IN (0, 3));
CREATE UNIQUE INDEX period_close_chain ON period_close (tenant_id, chain_no) WHERE chain_no IS NOT NULL;
CREATE UNIQUE INDEX correction_chain ON correction (tenant_id, chain_no) WHERE chain_no IS NOT NULL;

COMMENT ON COLUMN period_close.chain_no IS 'Number among the closes and corrections of the tenant, without a gap; null for one from before there was a chain.';
COMMENT ON COLUMN period_close.previous_hash IS 'record_hash of the number before; 64 zeros for the first.';
COMMENT ON COLUMN period_close.record_hash IS 'SHA-256 of the value of its record in usage.closes, which has previous_hash.';
COMMENT ON COLUMN correction.chain_no IS 'Number among the closes and corrections of the tenant, without a gap; null for one from before there was a chain.';
COMMENT ON COLUMN correction.previous_hash IS 'record_hash of the number before; 64 zeros for the first.';
COMMENT ON COLUMN correction.record_hash IS 'SHA-256 of the value of its record in usage.corrections, which has previous_hash.';
