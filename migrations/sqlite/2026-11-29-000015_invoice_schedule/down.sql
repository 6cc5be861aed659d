DROP TABLE push_invoice_runs;
DROP INDEX billing_lines_agreement;
DROP INDEX cw_agreements_parent;
DROP INDEX cw_agreements_next_invoice;
ALTER TABLE push_schedules DROP COLUMN days_before_invoice;
