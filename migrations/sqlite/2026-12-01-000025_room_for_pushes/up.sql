-- Only PostgreSQL writes new versions of rows.
SELECT 1;
