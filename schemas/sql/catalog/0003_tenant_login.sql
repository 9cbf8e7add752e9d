-- Whose usage a login of the database sees in the views own_… of the report.

CREATE TABLE catalog.tenant_login (
    login     text NOT NULL,
    tenant_id text NOT NULL,
    PRIMARY KEY (login, tenant_id)
);

COMMENT ON TABLE catalog.tenant_login IS 'Tenants that a login of the database sees in the views report.own_…; written by an administrator.';
COMMENT ON COLUMN catalog.tenant_login.login IS 'Login, a member of tidemark_tenant; as Postgres names it.';
COMMENT ON COLUMN catalog.tenant_login.tenant_id IS 'Tenant whose usage it may read.';
