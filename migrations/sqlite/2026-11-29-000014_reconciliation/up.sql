-- What a reconciliation found just before each scheduled push, by product and currency.
CREATE TABLE reconciliation_snapshots (
    id                   TEXT PRIMARY KEY NOT NULL,
    tenant_id            TEXT NOT NULL REFERENCES tenants (id),
    push_job_id          TEXT NOT NULL,
    product_id           TEXT NOT NULL,
    product_code         TEXT NOT NULL,
    product_name         TEXT NOT NULL,
    billing_month        TEXT NOT NULL,
    items                BIGINT NOT NULL,
    to_look_at           BIGINT NOT NULL,
    quantity             TEXT NOT NULL,
    connectwise_quantity TEXT NOT NULL,
    difference           TEXT NOT NULL,
    currency             TEXT,
    amount               TEXT,
    connectwise_amount   TEXT,
    amount_difference    TEXT,
    left_out             TEXT,
    taken_at             TIMESTAMP NOT NULL
);
CREATE INDEX reconciliation_snapshots_month ON reconciliation_snapshots (tenant_id, product_id, billing_month);
