-- The quantity that is billed at least, agreed exceptions, and what to do once the invoice was made.
ALTER TABLE products ADD COLUMN minimum_quantity TEXT;
ALTER TABLE products ADD COLUMN when_invoiced TEXT NOT NULL DEFAULT 'warn';
ALTER TABLE billing_lines ADD COLUMN minimum_quantity TEXT;
-- JSON.
ALTER TABLE billing_lines ADD COLUMN adjustment TEXT;
-- What applied when the job was stored. JSON.
ALTER TABLE push_lines ADD COLUMN adjustment TEXT;
ALTER TABLE push_lines ADD COLUMN minimum_quantity TEXT;
-- Why the line was held when a person approved it: the approval is for nothing else.
ALTER TABLE push_lines ADD COLUMN approved_for TEXT;
