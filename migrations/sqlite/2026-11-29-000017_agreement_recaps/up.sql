-- What ConnectWise's agreement recap tells of invoices, and under which of its names a site has that list.
ALTER TABLE cw_agreements ADD COLUMN last_invoice DATE;
ALTER TABLE cw_agreements ADD COLUMN unbilled_periods BIGINT;
ALTER TABLE cw_refreshes ADD COLUMN recap_list TEXT;
