-- Renewed whenever what was read from ConnectWise changes: what was made of it in memory holds as long as this stays.
CREATE TABLE cw_generations (
    tenant_id  TEXT COLLATE "C" PRIMARY KEY NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    generation TEXT COLLATE "C" NOT NULL
);

-- The story of a billing line: what changed, what it became (JSON), when, by whom. Written once, never changed.
CREATE TABLE line_changes (
    id              TEXT COLLATE "C" NOT NULL,
    tenant_id       TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    billing_line_id TEXT COLLATE "C" NOT NULL REFERENCES billing_lines (id) ON DELETE CASCADE,
    part            TEXT COLLATE "C" NOT NULL,
    became          TEXT COLLATE "C" NOT NULL,
    changed_at      TIMESTAMP NOT NULL,
    changed_by      TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (billing_line_id, id)
);
