DROP INDEX usage_records_not_totalled;
ALTER TABLE usage_records DROP COLUMN totalled_at;
DROP TABLE usage_totals;
