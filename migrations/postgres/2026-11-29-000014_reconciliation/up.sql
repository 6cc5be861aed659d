-- What a reconciliation found just before each scheduled push, by product and currency.
CREATE TABLE reconciliation_snapshots (
    id                   TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    tenant_id            TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    push_job_id          TEXT COLLATE "C" NOT NULL,
    product_id           TEXT COLLATE "C" NOT NULL,
    product_code         TEXT COLLATE "C" NOT NULL,
    product_name         TEXT COLLATE "C" NOT NULL,
    billing_month        TEXT COLLATE "C" NOT NULL,
    items                BIGINT NOT NULL,
    to_look_at           BIGINT NOT NULL,
    quantity             TEXT COLLATE "C" NOT NULL,
    connectwise_quantity TEXT COLLATE "C" NOT NULL,
    difference           TEXT COLLATE "C" NOT NULL,
    currency             TEXT COLLATE "C",
    amount               TEXT COLLATE "C",
    connectwise_amount   TEXT COLLATE "C",
    amount_difference    TEXT COLLATE "C",
    left_out             TEXT COLLATE "C",
    taken_at             TIMESTAMP NOT NULL
);
CREATE INDEX reconciliation_snapshots_month ON reconciliation_snapshots (tenant_id, product_id, billing_month);
