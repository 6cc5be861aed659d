DROP INDEX push_jobs_open_of_tenant;
DROP INDEX push_lines_held;
DROP INDEX push_lines_next;
