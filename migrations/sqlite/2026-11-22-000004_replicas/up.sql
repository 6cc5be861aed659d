-- The budget of requests to a connection's ConnectWise, which replicas share. One process has an SQLite file, and counts
-- for itself: here so that both databases have the same tables.
CREATE TABLE request_budgets (
    tenant_id  TEXT PRIMARY KEY NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    next_at    TIMESTAMP NOT NULL,
    held_until TIMESTAMP NOT NULL
);

-- Which other lines bill to an addition: asked before each write.
CREATE INDEX billing_lines_addition ON billing_lines (tenant_id, addition_id);
