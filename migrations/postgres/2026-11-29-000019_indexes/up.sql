-- Since the totals, no query reads the records of all companies.
DROP INDEX usage_records_month;
-- A page asks which of its companies in ConnectWise share a name.
CREATE INDEX cw_companies_name ON cw_companies (tenant_id, name_key);
