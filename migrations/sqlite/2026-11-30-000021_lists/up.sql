-- How many of a finished job's lines have which state and month, as JSON. A list of jobs counted all lines of its jobs before.
ALTER TABLE push_jobs ADD COLUMN final_counts TEXT;
-- The list of companies by creation, which is the order of ids.
CREATE INDEX companies_created ON companies (tenant_id, id);
