-- Types are those both databases share: TEXT (ids, words, exact decimals, JSON), BIGINT, BOOLEAN, TIMESTAMP (UTC, microseconds).
-- Columns ending in _key hold folded text: searched and sorted without regard to case, the same way on both databases.

CREATE TABLE tenants (
    id         TEXT PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL
);

CREATE TABLE api_keys (
    id         TEXT PRIMARY KEY NOT NULL,
    tenant_id  TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    prefix     TEXT NOT NULL,
    hash       TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL,
    revoked_at TIMESTAMP
);
CREATE UNIQUE INDEX api_keys_prefix ON api_keys (prefix);
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, id);

CREATE TABLE connections (
    tenant_id   TEXT PRIMARY KEY NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    site        TEXT NOT NULL,
    company_id  TEXT NOT NULL,
    client_id   TEXT NOT NULL,
    secrets     TEXT NOT NULL,
    version     BIGINT NOT NULL,
    created_at  TIMESTAMP NOT NULL,
    updated_at  TIMESTAMP NOT NULL
);

-- What was read from ConnectWise. Rows that vanish there are marked gone, never deleted.
CREATE TABLE cw_companies (
    tenant_id      TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id             BIGINT NOT NULL,
    identifier     TEXT NOT NULL,
    identifier_key TEXT NOT NULL,
    name           TEXT NOT NULL,
    name_key       TEXT NOT NULL,
    status         TEXT,
    deleted        BOOLEAN NOT NULL,
    gone_at        TIMESTAMP,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX cw_companies_identifier ON cw_companies (tenant_id, identifier_key, id);

CREATE TABLE cw_agreements (
    tenant_id         TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id                BIGINT NOT NULL,
    company_id        BIGINT NOT NULL,
    name              TEXT NOT NULL,
    name_key          TEXT NOT NULL,
    type_name         TEXT,
    status            TEXT,
    cancelled         BOOLEAN NOT NULL,
    cancelled_at      TIMESTAMP,
    ends_at           TIMESTAMP,
    no_end            BOOLEAN NOT NULL,
    gone_at           TIMESTAMP,
    additions_read_at TIMESTAMP,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX cw_agreements_company ON cw_agreements (tenant_id, company_id, id);

CREATE TABLE cw_additions (
    tenant_id          TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id                 BIGINT NOT NULL,
    agreement_id       BIGINT NOT NULL,
    product_identifier TEXT,
    description        TEXT,
    quantity           TEXT,
    cancelled_at       TIMESTAMP,
    gone_at            TIMESTAMP,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX cw_additions_agreement ON cw_additions (tenant_id, agreement_id, id);

CREATE TABLE cw_refreshes (
    tenant_id   TEXT PRIMARY KEY NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    lease_owner TEXT,
    lease_until TIMESTAMP,
    finished_at TIMESTAMP,
    error       TEXT,
    companies   BIGINT NOT NULL,
    agreements  BIGINT NOT NULL,
    additions   BIGINT NOT NULL
);

CREATE TABLE companies (
    id                     TEXT PRIMARY KEY NOT NULL,
    tenant_id              TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    external_id            TEXT NOT NULL,
    name                   TEXT NOT NULL,
    name_key               TEXT NOT NULL,
    connectwise_company_id BIGINT,
    match_source           TEXT,
    matched_at             TIMESTAMP,
    matched_by             TEXT,
    version                BIGINT NOT NULL,
    created_at             TIMESTAMP NOT NULL,
    updated_at             TIMESTAMP NOT NULL,
    UNIQUE (tenant_id, external_id)
);
CREATE INDEX companies_name ON companies (tenant_id, name_key, id);
CREATE INDEX companies_connectwise ON companies (tenant_id, connectwise_company_id);

CREATE TABLE products (
    id          TEXT PRIMARY KEY NOT NULL,
    tenant_id   TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    code        TEXT NOT NULL,
    name        TEXT NOT NULL,
    name_key    TEXT NOT NULL,
    unit        TEXT NOT NULL,
    block_size  TEXT NOT NULL,
    rounding    TEXT NOT NULL,
    aggregation TEXT NOT NULL,
    version     BIGINT NOT NULL,
    created_at  TIMESTAMP NOT NULL,
    updated_at  TIMESTAMP NOT NULL,
    UNIQUE (tenant_id, code)
);

CREATE TABLE matching_rules (
    id         TEXT PRIMARY KEY NOT NULL,
    tenant_id  TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    product_id TEXT NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    target     TEXT NOT NULL,
    expression TEXT NOT NULL,
    version    BIGINT NOT NULL,
    created_at TIMESTAMP NOT NULL,
    updated_at TIMESTAMP NOT NULL,
    UNIQUE (tenant_id, product_id, target)
);

-- Company x product, with its two mappings.
CREATE TABLE billing_lines (
    id                   TEXT PRIMARY KEY NOT NULL,
    tenant_id            TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    company_id           TEXT NOT NULL REFERENCES companies (id) ON DELETE CASCADE,
    product_id           TEXT NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    push_enabled         BOOLEAN NOT NULL,
    block_size           TEXT,
    agreement_status     TEXT NOT NULL,
    agreement_source     TEXT,
    agreement_id         BIGINT,
    agreement_reason     TEXT,
    agreement_candidates TEXT,
    agreement_changed_at TIMESTAMP,
    agreement_changed_by TEXT,
    addition_status      TEXT NOT NULL,
    addition_source      TEXT,
    addition_id          BIGINT,
    addition_reason      TEXT,
    addition_candidates  TEXT,
    addition_changed_at  TIMESTAMP,
    addition_changed_by  TEXT,
    last_push_job_id     TEXT,
    last_push_state      TEXT,
    last_push_reason     TEXT,
    last_push_at         TIMESTAMP,
    last_push_quantity   TEXT,
    version              BIGINT NOT NULL,
    created_at           TIMESTAMP NOT NULL,
    updated_at           TIMESTAMP NOT NULL,
    UNIQUE (tenant_id, product_id, company_id)
);
CREATE INDEX billing_lines_company ON billing_lines (company_id);
CREATE INDEX billing_lines_product ON billing_lines (product_id);

-- Corrections do not overwrite: the newest record of a key is the one that no other supersedes.
CREATE TABLE usage_records (
    id            TEXT PRIMARY KEY NOT NULL,
    tenant_id     TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    company_id    TEXT NOT NULL REFERENCES companies (id) ON DELETE CASCADE,
    product_id    TEXT NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    amount        TEXT NOT NULL,
    measured_at   TIMESTAMP NOT NULL,
    source        TEXT NOT NULL,
    received_at   TIMESTAMP NOT NULL,
    superseded_by TEXT
);
CREATE UNIQUE INDEX usage_records_current ON usage_records (tenant_id, product_id, company_id, measured_at, source)
    WHERE superseded_by IS NULL;
CREATE INDEX usage_records_month ON usage_records (tenant_id, product_id, measured_at);
CREATE INDEX usage_records_company ON usage_records (company_id);

CREATE TABLE push_jobs (
    id               TEXT PRIMARY KEY NOT NULL,
    tenant_id        TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    kind             TEXT NOT NULL,
    started_by       TEXT NOT NULL,
    state            TEXT NOT NULL,
    detail           TEXT,
    product_id       TEXT,
    parent_job_id    TEXT,
    billing_month    TEXT NOT NULL,
    requested_by     TEXT NOT NULL,
    cancel_requested BOOLEAN NOT NULL,
    line_count       BIGINT NOT NULL,
    created_at       TIMESTAMP NOT NULL,
    started_at       TIMESTAMP,
    finished_at      TIMESTAMP
);
CREATE INDEX push_jobs_tenant ON push_jobs (tenant_id, id);
CREATE INDEX push_jobs_open ON push_jobs (id) WHERE finished_at IS NULL;

-- Names are copied, not referred to: history stays true when what it tells of is renamed or deleted.
CREATE TABLE push_lines (
    id              TEXT PRIMARY KEY NOT NULL,
    tenant_id       TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    job_id          TEXT NOT NULL REFERENCES push_jobs (id) ON DELETE CASCADE,
    billing_line_id TEXT NOT NULL,
    company_id      TEXT NOT NULL,
    company_name    TEXT NOT NULL,
    product_id      TEXT NOT NULL,
    product_code    TEXT NOT NULL,
    agreement_id    BIGINT,
    agreement_name  TEXT,
    addition_id     BIGINT,
    addition_name   TEXT,
    usage_amount    TEXT,
    block_size      TEXT,
    from_quantity   TEXT,
    to_quantity     TEXT,
    state           TEXT NOT NULL,
    reason          TEXT,
    detail          TEXT,
    attempts        BIGINT NOT NULL,
    failures        BIGINT NOT NULL,
    lease_owner     TEXT,
    lease_until     TIMESTAMP,
    fence           BIGINT NOT NULL,
    not_before      TIMESTAMP,
    started_at      TIMESTAMP,
    finished_at     TIMESTAMP
);
CREATE INDEX push_lines_job ON push_lines (tenant_id, job_id, id);
CREATE INDEX push_lines_billing_line ON push_lines (tenant_id, billing_line_id, id);
CREATE INDEX push_lines_open ON push_lines (job_id, agreement_id) WHERE finished_at IS NULL;

CREATE TABLE push_schedules (
    tenant_id    TEXT PRIMARY KEY NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    enabled      BOOLEAN NOT NULL,
    day_of_month BIGINT NOT NULL,
    time_of_day  TEXT NOT NULL,
    time_zone    TEXT NOT NULL,
    enabled_at   TIMESTAMP,
    version      BIGINT NOT NULL,
    updated_at   TIMESTAMP NOT NULL
);

-- One row for each month that the schedule has pushed: the key is what makes it once.
CREATE TABLE push_schedule_runs (
    tenant_id  TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    month      TEXT NOT NULL,
    due_at     TIMESTAMP NOT NULL,
    job_id     TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL,
    PRIMARY KEY (tenant_id, month)
);

-- The answer given to a request, so that the same request under the same key gets the same answer.
CREATE TABLE idempotency_keys (
    tenant_id    TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    key          TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    status       BIGINT NOT NULL,
    location     TEXT,
    body         TEXT NOT NULL,
    created_at   TIMESTAMP NOT NULL,
    PRIMARY KEY (tenant_id, key)
);
