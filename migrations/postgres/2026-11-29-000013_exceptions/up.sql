-- The quantity that is billed at least, agreed exceptions, and what to do once the invoice was made.
ALTER TABLE products ADD COLUMN minimum_quantity TEXT COLLATE "C";
ALTER TABLE products ADD COLUMN when_invoiced TEXT COLLATE "C" NOT NULL DEFAULT 'warn';
ALTER TABLE billing_lines ADD COLUMN minimum_quantity TEXT COLLATE "C";
-- JSON.
ALTER TABLE billing_lines ADD COLUMN adjustment TEXT COLLATE "C";
-- What applied when the job was stored. JSON.
ALTER TABLE push_lines ADD COLUMN adjustment TEXT COLLATE "C";
ALTER TABLE push_lines ADD COLUMN minimum_quantity TEXT COLLATE "C";
-- Why the line was held when a person approved it: the approval is for nothing else.
ALTER TABLE push_lines ADD COLUMN approved_for TEXT COLLATE "C";
