-- The list of all usage is in the order of arrival, which is that of ids.
CREATE INDEX usage_records_arrival ON usage_records (tenant_id, id);
-- A page asks which of its companies in ConnectWise share a name.
CREATE INDEX cw_companies_name ON cw_companies (tenant_id, name_key);
