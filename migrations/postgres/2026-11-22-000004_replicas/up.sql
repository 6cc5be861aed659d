-- The budget of requests to a connection's ConnectWise, which replicas share: when the next request is due at a steady
-- rate, and until when nobody may ask. It speaks of the minute at hand, so it need not outlive a crash of the database.
CREATE UNLOGGED TABLE request_budgets (
    tenant_id  TEXT COLLATE "C" PRIMARY KEY NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    next_at    TIMESTAMP NOT NULL,
    held_until TIMESTAMP NOT NULL
);

-- Which other lines bill to an addition: asked before each write.
CREATE INDEX billing_lines_addition ON billing_lines (tenant_id, addition_id);
