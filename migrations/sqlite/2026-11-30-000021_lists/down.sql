DROP INDEX companies_created;
ALTER TABLE push_jobs DROP COLUMN final_counts;
