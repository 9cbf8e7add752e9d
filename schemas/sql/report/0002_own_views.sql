-- The same views for logins that may see some tenants alone. The login decides, which no SET changes. A view runs no
-- condition of its reader on a row before it knows that the row may be seen (security_barrier).
DO $$
DECLARE
    base   text;
    column_ record;
BEGIN
    FOREACH base IN ARRAY ARRAY['invoice_line', 'usage_current_period', 'usage_daily', 'usage_by_dimension', 'unmatched_void']
    LOOP
        EXECUTE format(
            'CREATE VIEW %1$I WITH (security_barrier) AS SELECT * FROM %2$I '
            'WHERE tenant_id IN (SELECT l.tenant_id FROM catalog.tenant_login l WHERE l.login = session_user)',
            'own_' || base, base
        );
        EXECUTE format('COMMENT ON VIEW %I IS %L', 'own_' || base, format('The rows of %s of the tenants of the login that reads.', base));
        FOR column_ IN
            SELECT attname, col_description(attrelid, attnum) AS words
            FROM pg_attribute WHERE attrelid = base::regclass AND attnum > 0
        LOOP
            EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', 'own_' || base, column_.attname, column_.words);
        END LOOP;
    END LOOP;
END
$$;
