-- After some executions, PostgreSQL plans a statement once for all tenants. From the average tenant, it would conclude that
-- every tenant has few rows, and read all rows of the largest one to find some of them. Plans for a tenth of a table suit
-- both.
ALTER TABLE audit_log ALTER COLUMN tenant_id SET (n_distinct = 10);
ALTER TABLE billing_lines ALTER COLUMN tenant_id SET (n_distinct = 10);
ALTER TABLE companies ALTER COLUMN tenant_id SET (n_distinct = 10);
ALTER TABLE cw_additions ALTER COLUMN tenant_id SET (n_distinct = 10);
ALTER TABLE cw_agreements ALTER COLUMN tenant_id SET (n_distinct = 10);
ALTER TABLE cw_companies ALTER COLUMN tenant_id SET (n_distinct = 10);
ALTER TABLE line_changes ALTER COLUMN tenant_id SET (n_distinct = 10);
ALTER TABLE push_jobs ALTER COLUMN tenant_id SET (n_distinct = 10);
ALTER TABLE push_lines ALTER COLUMN tenant_id SET (n_distinct = 10);
ALTER TABLE usage_records ALTER COLUMN tenant_id SET (n_distinct = 10);
ALTER TABLE usage_totals ALTER COLUMN tenant_id SET (n_distinct = 10);
ALTER TABLE webhook_deliveries ALTER COLUMN tenant_id SET (n_distinct = 10);
-- The setting takes effect with the next statistics.
ANALYZE audit_log;
ANALYZE billing_lines;
ANALYZE companies;
ANALYZE cw_additions;
ANALYZE cw_agreements;
ANALYZE cw_companies;
ANALYZE line_changes;
ANALYZE push_jobs;
ANALYZE push_lines;
ANALYZE usage_records;
ANALYZE usage_totals;
ANALYZE webhook_deliveries;
