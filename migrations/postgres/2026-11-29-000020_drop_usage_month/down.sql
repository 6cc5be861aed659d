CREATE INDEX usage_records_month ON usage_records (tenant_id, product_id, measured_at);
