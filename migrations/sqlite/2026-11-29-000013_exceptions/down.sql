ALTER TABLE push_lines DROP COLUMN approved_for;
ALTER TABLE push_lines DROP COLUMN minimum_quantity;
ALTER TABLE push_lines DROP COLUMN adjustment;
ALTER TABLE billing_lines DROP COLUMN adjustment;
ALTER TABLE billing_lines DROP COLUMN minimum_quantity;
ALTER TABLE products DROP COLUMN when_invoiced;
ALTER TABLE products DROP COLUMN minimum_quantity;
