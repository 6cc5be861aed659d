-- Where tenants want to be told about events.
CREATE TABLE webhooks (
    id               TEXT PRIMARY KEY NOT NULL,
    tenant_id        TEXT NOT NULL REFERENCES tenants (id),
    url              TEXT NOT NULL,
    description      TEXT,
    events           TEXT NOT NULL,
    disabled_reason  TEXT,
    secret           TEXT NOT NULL,
    old_secret       TEXT,
    old_secret_until TIMESTAMP,
    failures         BIGINT NOT NULL,
    failing_since    TIMESTAMP,
    paused_until     TIMESTAMP,
    version          BIGINT NOT NULL,
    created_at       TIMESTAMP NOT NULL,
    updated_at       TIMESTAMP NOT NULL
);
CREATE INDEX webhooks_tenant ON webhooks (tenant_id, id);

-- What is to be delivered, written in the transaction of the event.
CREATE TABLE webhook_deliveries (
    id              TEXT PRIMARY KEY NOT NULL,
    tenant_id       TEXT NOT NULL REFERENCES tenants (id),
    webhook_id      TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    message_id      TEXT NOT NULL,
    event_type      TEXT NOT NULL,
    payload         TEXT NOT NULL,
    state           TEXT NOT NULL,
    attempts        BIGINT NOT NULL,
    response_status BIGINT,
    detail          TEXT,
    lease_owner     TEXT,
    lease_until     TIMESTAMP,
    fence           BIGINT NOT NULL,
    not_before      TIMESTAMP NOT NULL,
    created_at      TIMESTAMP NOT NULL,
    attempted_at    TIMESTAMP,
    finished_at     TIMESTAMP
);
CREATE INDEX webhook_deliveries_tenant ON webhook_deliveries (tenant_id, id);
CREATE INDEX webhook_deliveries_webhook ON webhook_deliveries (webhook_id, id);
CREATE INDEX webhook_deliveries_open ON webhook_deliveries (tenant_id, not_before) WHERE finished_at IS NULL;
CREATE INDEX webhook_deliveries_old ON webhook_deliveries (finished_at) WHERE finished_at IS NOT NULL;

-- Until when a tenant's meters were checked for silence.
CREATE TABLE usage_checks (
    tenant_id     TEXT PRIMARY KEY NOT NULL REFERENCES tenants (id),
    checked_until TIMESTAMP NOT NULL
);

-- Tenants whose connection to ConnectWise fails at present.
CREATE TABLE connection_failures (
    tenant_id TEXT PRIMARY KEY NOT NULL REFERENCES tenants (id),
    since     TIMESTAMP NOT NULL,
    cause     TEXT NOT NULL
);

-- The person for whom the owner of an API key acted, as the request said.
ALTER TABLE audit_log ADD COLUMN acting_user TEXT;
