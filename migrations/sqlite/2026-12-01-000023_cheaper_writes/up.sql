-- contraction: unused since 0.1.0, which finds the leased lines of a tenant by push_lines_leased. It has no end of the lease,
-- so a renewal changes no index. A tenant never has many leased lines.
DROP INDEX push_lines_held;
CREATE INDEX IF NOT EXISTS push_lines_leased ON push_lines (tenant_id) WHERE lease_owner IS NOT NULL;
