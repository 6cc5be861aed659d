-- contraction: unused since 0.1.0, which finds leased lines by push_lines_leased. Each renewal of a lease was written to the
-- old index as well. There are never many leased lines of a tenant, so the index needs no time.
CREATE INDEX push_lines_leased ON push_lines (tenant_id) WHERE lease_owner IS NOT NULL;
DROP INDEX push_lines_held;
