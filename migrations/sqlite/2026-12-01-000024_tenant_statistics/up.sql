-- Only PostgreSQL needs to be told about tenants of different size.
SELECT 1;
