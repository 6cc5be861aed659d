-- contraction: unused since 0.1.0, which finds the leased lines of a tenant by push_lines_leased. It has no end of the lease,
-- so a renewal changes no index. A tenant never has many leased lines.
DROP INDEX push_lines_held;
CREATE INDEX IF NOT EXISTS push_lines_leased ON push_lines (tenant_id) WHERE lease_owner IS NOT NULL;
-- Room for the next versions of a row on its page, so that a lease is renewed without new index entries.
ALTER TABLE push_lines SET (fillfactor = 60);
-- Tenants are never deleted, and each of these rows has another foreign key, to a row of its tenant. The check of a key reads
-- and locks the row it refers to, for each new row.
ALTER TABLE usage_records DROP CONSTRAINT usage_records_tenant_id_fkey;
ALTER TABLE usage_totals DROP CONSTRAINT usage_totals_tenant_id_fkey;
ALTER TABLE billing_lines DROP CONSTRAINT billing_lines_tenant_id_fkey;
ALTER TABLE line_changes DROP CONSTRAINT line_changes_tenant_id_fkey;
ALTER TABLE push_lines DROP CONSTRAINT push_lines_tenant_id_fkey;
