DROP INDEX cw_companies_name;
DROP INDEX usage_records_company_arrival;
DROP INDEX usage_records_arrival;
CREATE INDEX usage_records_company ON usage_records (company_id);
CREATE INDEX usage_records_month ON usage_records (tenant_id, product_id, measured_at);
