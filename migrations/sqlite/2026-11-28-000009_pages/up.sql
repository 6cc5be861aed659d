-- Pages of one product's lines, in each order and by each status.
CREATE INDEX billing_lines_created ON billing_lines (tenant_id, product_id, id);
CREATE INDEX billing_lines_agreement_status ON billing_lines (tenant_id, product_id, agreement_status, id);
CREATE INDEX billing_lines_addition_status ON billing_lines (tenant_id, product_id, addition_status, id);
