-- What a month's usage records of a company and product add up to, kept up to date as records come in.
CREATE TABLE usage_totals (
    id          TEXT PRIMARY KEY NOT NULL,
    tenant_id   TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    product_id  TEXT NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    company_id  TEXT NOT NULL REFERENCES companies (id) ON DELETE CASCADE,
    month       TEXT NOT NULL,
    records     BIGINT NOT NULL,
    first_at    TIMESTAMP NOT NULL,
    last_at     TIMESTAMP NOT NULL,
    last_source TEXT NOT NULL,
    last_amount TEXT NOT NULL,
    max_amount  TEXT NOT NULL,
    sum_amount  TEXT NOT NULL
);
CREATE UNIQUE INDEX usage_totals_month ON usage_totals (tenant_id, product_id, company_id, month);
CREATE INDEX usage_totals_company ON usage_totals (company_id);
-- Since when a record is part of the totals. Records of earlier versions are not, until they are added in the background.
ALTER TABLE usage_records ADD COLUMN totalled_at TIMESTAMP;
CREATE INDEX usage_records_not_totalled ON usage_records (tenant_id, product_id, company_id) WHERE totalled_at IS NULL;
