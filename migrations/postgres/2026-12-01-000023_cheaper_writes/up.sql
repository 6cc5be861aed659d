-- contraction: unused since 0.1.0, which finds leased lines by push_lines_leased. Each renewal of a lease was written to the
-- old index as well. There are never many leased lines of a tenant, so the index needs no time.
CREATE INDEX push_lines_leased ON push_lines (tenant_id) WHERE lease_owner IS NOT NULL;
DROP INDEX push_lines_held;
-- Room for the next versions of a row on its page, so that a lease is renewed without new index entries.
ALTER TABLE push_lines SET (fillfactor = 60);
-- A row's tenant is that of its company, job or billing line, which other foreign keys check. Each check of a row locks the
-- row it refers to.
ALTER TABLE usage_records DROP CONSTRAINT usage_records_tenant_id_fkey;
ALTER TABLE usage_totals DROP CONSTRAINT usage_totals_tenant_id_fkey;
ALTER TABLE billing_lines DROP CONSTRAINT billing_lines_tenant_id_fkey;
ALTER TABLE line_changes DROP CONSTRAINT line_changes_tenant_id_fkey;
ALTER TABLE push_lines DROP CONSTRAINT push_lines_tenant_id_fkey;
