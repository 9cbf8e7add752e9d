-- Keys of the HTTP API. A key is random, so its hash needs no salt and no slow function: it cannot be guessed.

CREATE TABLE api_key (
    key_id       text        PRIMARY KEY CHECK (key_id ~ '^[a-z2-7]{12}$'),
    tenant_id    text        NOT NULL CHECK (tenant_id <> ''),
    name         text        NOT NULL,
    scopes       text[]      NOT NULL
        CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['ingest', 'read', 'admin']),
    secret_hash  bytea       NOT NULL CHECK (octet_length(secret_hash) = 32),
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by   text        NOT NULL,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    replaced_by  text        REFERENCES api_key,
    last_used_at timestamptz
);
CREATE INDEX api_key_of_tenant ON api_key (tenant_id, created_at);

COMMENT ON TABLE api_key IS 'Keys of the HTTP API; a row is never removed, so that it stays known who could do what.';
COMMENT ON COLUMN api_key.key_id IS 'Public part of the key: names it in lists and logs.';
COMMENT ON COLUMN api_key.tenant_id IS 'The one tenant that it may send and read usage of.';
COMMENT ON COLUMN api_key.name IS 'What people call it.';
COMMENT ON COLUMN api_key.scopes IS 'What it may do: `ingest` sends events, `read` reads usage, `admin` both and what is to come.';
COMMENT ON COLUMN api_key.secret_hash IS 'SHA-256 of the whole key; the key itself is shown once, when it is made.';
COMMENT ON COLUMN api_key.created_at IS 'When it was made.';
COMMENT ON COLUMN api_key.created_by IS 'Login name of who made it.';
COMMENT ON COLUMN api_key.expires_at IS 'From when on it is refused; null: never.';
COMMENT ON COLUMN api_key.revoked_at IS 'When it was revoked; null while it is valid.';
COMMENT ON COLUMN api_key.replaced_by IS 'The key that it was rotated into.';
COMMENT ON COLUMN api_key.last_used_at IS 'When it was last used, to about a minute.';
