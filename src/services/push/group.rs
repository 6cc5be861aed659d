//! The context of a worker that processes claimed lines.

use crate::db::{Connection, PushJob};
use crate::domain::ids::TenantId;
use crate::services::context::AppContext;

/// What a worker needs to process the lines of one agreement in one job.
pub(super) struct Group<'s> {
    pub(super) ctx: &'s AppContext,
    pub(super) tenant: TenantId,
    pub(super) job: PushJob,
    /// The connection when the lines were claimed.
    pub(super) connection: Option<Connection>,
}
