-- Who changed what: written in the transaction of the change, never changed afterwards.
CREATE TABLE audit_log (
    id           TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    tenant_id    TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    at           TIMESTAMP NOT NULL,
    actor        TEXT COLLATE "C" NOT NULL,
    api_key_id   TEXT COLLATE "C",
    request_id   TEXT COLLATE "C",
    action       TEXT COLLATE "C" NOT NULL,
    subject_id   TEXT COLLATE "C",
    subject_name TEXT COLLATE "C",
    old          TEXT COLLATE "C",
    new          TEXT COLLATE "C"
);
CREATE INDEX audit_log_tenant ON audit_log (tenant_id, id);
CREATE INDEX audit_log_subject ON audit_log (tenant_id, subject_id, id);
CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$;
CREATE TRIGGER audit_log_keeps_rows BEFORE UPDATE OR DELETE ON audit_log
FOR EACH ROW EXECUTE FUNCTION audit_log_is_append_only();
CREATE TRIGGER audit_log_is_not_emptied BEFORE TRUNCATE ON audit_log
FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only();
