-- How many days before its next invoice an agreement is pushed; null if all are pushed on the day of the month.
ALTER TABLE push_schedules ADD COLUMN days_before_invoice BIGINT;
CREATE INDEX cw_agreements_next_invoice ON cw_agreements (tenant_id, next_invoice);
CREATE INDEX cw_agreements_parent ON cw_agreements (tenant_id, parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX billing_lines_agreement ON billing_lines (tenant_id, agreement_id);

-- The invoices before which an agreement was pushed.
CREATE TABLE push_invoice_runs (
    id           TEXT PRIMARY KEY NOT NULL,
    tenant_id    TEXT NOT NULL REFERENCES tenants (id),
    agreement_id BIGINT NOT NULL,
    invoice_on   DATE NOT NULL,
    job_id       TEXT NOT NULL,
    created_at   TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX push_invoice_runs_invoice ON push_invoice_runs (tenant_id, agreement_id, invoice_on);
