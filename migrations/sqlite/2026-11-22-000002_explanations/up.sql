-- Renewed whenever what was read from ConnectWise changes: what was made of it in memory holds as long as this stays.
CREATE TABLE cw_generations (
    tenant_id  TEXT PRIMARY KEY NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    generation TEXT NOT NULL
);

-- The story of a billing line: what changed, what it became (JSON), when, by whom. Written once, never changed.
CREATE TABLE line_changes (
    id              TEXT NOT NULL,
    tenant_id       TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    billing_line_id TEXT NOT NULL REFERENCES billing_lines (id) ON DELETE CASCADE,
    part            TEXT NOT NULL,
    became          TEXT NOT NULL,
    changed_at      TIMESTAMP NOT NULL,
    changed_by      TEXT NOT NULL,
    PRIMARY KEY (billing_line_id, id)
);
