-- A worker looks for the next lines of a job: those that wait for nothing, and those that are due.
CREATE INDEX push_lines_next ON push_lines (job_id, state, not_before, id) WHERE finished_at IS NULL;
-- The agreements of a tenant that workers hold.
CREATE INDEX push_lines_held ON push_lines (tenant_id, lease_until) WHERE lease_owner IS NOT NULL;
-- The jobs of a tenant that have not ended.
CREATE INDEX push_jobs_open_of_tenant ON push_jobs (tenant_id, id) WHERE finished_at IS NULL;
