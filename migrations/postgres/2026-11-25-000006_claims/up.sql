-- A claim looks at the open lines of one agreement, in every job.
CREATE INDEX push_lines_open_agreement ON push_lines (tenant_id, agreement_id) WHERE finished_at IS NULL;
