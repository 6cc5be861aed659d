CREATE INDEX push_lines_held ON push_lines (tenant_id, lease_until) WHERE lease_owner IS NOT NULL;
DROP INDEX push_lines_leased;
