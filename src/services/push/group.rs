//! The lines that a worker holds.

use crate::db::{Connection, PushJob};
use crate::domain::ids::TenantId;
use crate::services::context::AppContext;

/// The lines of one agreement in one job, held by a worker.
pub(super) struct Group<'s> {
    pub(super) ctx: &'s AppContext,
    pub(super) tenant: TenantId,
    pub(super) job: PushJob,
    /// The connection as it was when the work began.
    pub(super) connection: Option<Connection>,
}
