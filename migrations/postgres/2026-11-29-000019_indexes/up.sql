-- Lists of usage are in the order of arrival, which is that of ids. No query looks for a month's records of all companies.
DROP INDEX usage_records_month;
DROP INDEX usage_records_company;
CREATE INDEX usage_records_arrival ON usage_records (tenant_id, id);
CREATE INDEX usage_records_company_arrival ON usage_records (company_id, id);
-- A page asks which of its companies in ConnectWise share a name.
CREATE INDEX cw_companies_name ON cw_companies (tenant_id, name_key);
