DROP INDEX push_lines_addition;
DROP INDEX push_lines_month;
ALTER TABLE push_lines DROP COLUMN usage_records;
ALTER TABLE push_lines DROP COLUMN usage_through;
ALTER TABLE push_lines DROP COLUMN month_closed;
ALTER TABLE push_lines DROP COLUMN billing_month;
DROP TABLE billing_time_zones;
ALTER TABLE products DROP COLUMN max_usage_age_days;
ALTER TABLE products DROP COLUMN billing_period;
