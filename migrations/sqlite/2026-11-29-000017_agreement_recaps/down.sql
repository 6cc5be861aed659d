ALTER TABLE cw_refreshes DROP COLUMN recap_list;
ALTER TABLE cw_agreements DROP COLUMN unbilled_periods;
ALTER TABLE cw_agreements DROP COLUMN last_invoice;
