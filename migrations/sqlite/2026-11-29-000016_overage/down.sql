ALTER TABLE push_lines DROP COLUMN included_quantity;
ALTER TABLE billing_lines DROP COLUMN included_quantity;
ALTER TABLE products DROP COLUMN overage_of;
ALTER TABLE products DROP COLUMN included_quantity;
