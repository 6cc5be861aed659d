//! Records new push jobs in the audit log.

use serde_json::{Value, json};

use crate::db::{PushJob, Tx};
use crate::domain::Result;
use crate::domain::audit::AuditAction;
use crate::services::security::audit::{Audit, Subject};

/// Records in the audit log that a job was created, with the limits of its scope.
pub(super) fn record_job_created(tx: &mut Tx<'_>, audit: &Audit, job: &PushJob, scope: Value) -> Result<()> {
    let mut new = scope;
    new["kind"] = json!(job.kind);
    new["trigger"] = json!(job.trigger);
    new["product_id"] = json!(job.product_id);
    new["parent_job_id"] = json!(job.parent_job_id);
    new["billing_month"] = json!(job.billing_month);
    new["lines"] = json!(job.line_count);
    audit.record(tx, AuditAction::PushJobCreated, Subject::new(&job.id, job.kind.as_str()), None, Some(new))
}
