-- The largest change of a quantity that goes through unasked: in percent of what ConnectWise has, and in units.
ALTER TABLE products ADD COLUMN max_change_percent TEXT COLLATE "C";
ALTER TABLE products ADD COLUMN max_change_units TEXT COLLATE "C";

-- What ConnectWise must still have for the line to be written: of jobs from a dry run, and of reverts.
ALTER TABLE push_lines ADD COLUMN expected_from TEXT COLLATE "C";
-- Who approved or dropped a held line; approved is for the change from from_quantity to to_quantity alone.
ALTER TABLE push_lines ADD COLUMN approved BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE push_lines ADD COLUMN decided_by TEXT COLLATE "C";
CREATE INDEX push_lines_company ON push_lines (tenant_id, company_id, id);
-- What workers look for, however many lines have ended: those that wait, and those that somebody holds.
CREATE INDEX push_lines_waiting ON push_lines (id) WHERE finished_at IS NULL;
CREATE INDEX push_lines_leased ON push_lines (lease_until) WHERE lease_owner IS NOT NULL;

-- Taken in after the line was pushed for the month it was measured in.
ALTER TABLE usage_records ADD COLUMN late BOOLEAN NOT NULL DEFAULT FALSE;
