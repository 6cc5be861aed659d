//! The lines that a worker holds.

use crate::db::{Connection, PushJob};
use crate::domain::ids::TenantId;
use crate::services::context::Services;

/// The lines of one agreement in one job, held by a worker.
pub(super) struct Group<'s> {
    pub(super) services: &'s Services,
    pub(super) tenant: TenantId,
    pub(super) job: PushJob,
    /// The connection as it was when the work began.
    pub(super) connection: Option<Connection>,
}
