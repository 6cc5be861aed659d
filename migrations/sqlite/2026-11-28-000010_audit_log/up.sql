-- Who changed what: written in the transaction of the change, never changed afterwards.
CREATE TABLE audit_log (
    id           TEXT PRIMARY KEY NOT NULL,
    tenant_id    TEXT NOT NULL REFERENCES tenants (id),
    at           TIMESTAMP NOT NULL,
    actor        TEXT NOT NULL,
    api_key_id   TEXT,
    request_id   TEXT,
    action       TEXT NOT NULL,
    subject_id   TEXT,
    subject_name TEXT,
    old          TEXT,
    new          TEXT
);
CREATE INDEX audit_log_tenant ON audit_log (tenant_id, id);
CREATE INDEX audit_log_subject ON audit_log (tenant_id, subject_id, id);
CREATE TRIGGER audit_log_keeps_rows BEFORE UPDATE ON audit_log
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_log_replaces_no_row BEFORE INSERT ON audit_log
WHEN EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_log_loses_no_row BEFORE DELETE ON audit_log
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
