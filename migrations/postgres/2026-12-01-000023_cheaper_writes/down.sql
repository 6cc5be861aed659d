CREATE INDEX push_lines_held ON push_lines (tenant_id, lease_until) WHERE lease_owner IS NOT NULL;
DROP INDEX push_lines_leased;
ALTER TABLE push_lines RESET (fillfactor);
ALTER TABLE usage_records ADD FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE;
ALTER TABLE usage_totals ADD FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE;
ALTER TABLE billing_lines ADD FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE;
ALTER TABLE line_changes ADD FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE;
ALTER TABLE push_lines ADD FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE;
