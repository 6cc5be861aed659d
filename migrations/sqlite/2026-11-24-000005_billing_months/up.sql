-- Which month a push bills: 'current' or 'previous'; where it is null, the aggregation decides.
ALTER TABLE products ADD COLUMN billing_period TEXT;
-- For the aggregation 'last': a newest record older than this no longer counts.
ALTER TABLE products ADD COLUMN max_usage_age_days BIGINT NOT NULL DEFAULT 35;

-- The time zone in which billing months begin and end, from a month on. The first row also holds for all months before.
CREATE TABLE billing_time_zones (
    tenant_id  TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    from_month TEXT NOT NULL,
    time_zone  TEXT NOT NULL,
    PRIMARY KEY (tenant_id, from_month)
);

-- What the quantity of a push line was made of. Lines stored before this migration bill their job's month.
ALTER TABLE push_lines ADD COLUMN billing_month TEXT;
ALTER TABLE push_lines ADD COLUMN month_closed BOOLEAN;
ALTER TABLE push_lines ADD COLUMN usage_through TIMESTAMP;
ALTER TABLE push_lines ADD COLUMN usage_records BIGINT;
CREATE INDEX push_lines_month ON push_lines (tenant_id, billing_line_id, billing_month, id);
CREATE INDEX push_lines_jobs_of_month ON push_lines (tenant_id, billing_month, job_id);
-- When a person approved or dropped a held line.
ALTER TABLE push_lines ADD COLUMN decided_at TIMESTAMP;
-- What later pushes wrote to the same addition.
CREATE INDEX push_lines_addition ON push_lines (tenant_id, addition_id, id);
