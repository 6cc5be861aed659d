DROP INDEX cw_companies_name;
DROP INDEX usage_records_arrival;
