-- The quantity that is included, and the product that bills what is above it.
ALTER TABLE products ADD COLUMN included_quantity TEXT;
-- The product whose overage this one bills. It never changes.
ALTER TABLE products ADD COLUMN overage_of TEXT;
ALTER TABLE billing_lines ADD COLUMN included_quantity TEXT;
-- What applied when the job was stored.
ALTER TABLE push_lines ADD COLUMN included_quantity TEXT;
