CREATE INDEX push_lines_waiting ON push_lines (id) WHERE finished_at IS NULL;
CREATE INDEX push_lines_leased ON push_lines (lease_until) WHERE lease_owner IS NOT NULL;
