ALTER TABLE usage_records DROP COLUMN late;
DROP INDEX push_lines_leased;
DROP INDEX push_lines_waiting;
DROP INDEX push_lines_company;
ALTER TABLE push_lines DROP COLUMN decided_by;
ALTER TABLE push_lines DROP COLUMN approved;
ALTER TABLE push_lines DROP COLUMN expected_from;
ALTER TABLE products DROP COLUMN max_change_units;
ALTER TABLE products DROP COLUMN max_change_percent;
