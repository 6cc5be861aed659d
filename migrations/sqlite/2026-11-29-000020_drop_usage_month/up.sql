-- contraction: unused since 0.1.0, which adds up usage as it comes in. PostgreSQL chose this index for a batch of usage, and
-- read the records that all companies have at the same moment.
DROP INDEX usage_records_month;
