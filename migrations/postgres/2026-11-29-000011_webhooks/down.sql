ALTER TABLE audit_log DROP COLUMN acting_user;
DROP TABLE connection_failures;
DROP TABLE usage_checks;
DROP TABLE webhook_deliveries;
DROP TABLE webhooks;
