-- How agreements and additions are invoiced, as ConnectWise says: null until they are read again.
ALTER TABLE cw_agreements ADD COLUMN billing_cycle TEXT;
ALTER TABLE cw_agreements ADD COLUMN next_invoice DATE;
ALTER TABLE cw_agreements ADD COLUMN prorates BOOLEAN;
ALTER TABLE cw_agreements ADD COLUMN parent_id BIGINT;
ALTER TABLE cw_agreements ADD COLUMN currency TEXT;
ALTER TABLE cw_additions ADD COLUMN less_included TEXT;
ALTER TABLE cw_additions ADD COLUMN bill_customer TEXT;
ALTER TABLE cw_additions ADD COLUMN unit_price TEXT;
ALTER TABLE cw_additions ADD COLUMN effective DATE;
