//! Reads the additions that lines wait for, and resolves those lines again.

use std::collections::{HashMap, HashSet};

use super::resolve::{Resolved, Rules, record_index, resolve_lines, resolve_mappings, rules};
use crate::connectwise::RetryPolicy;
use crate::db::{LineFilter, Tx};
use crate::domain::Result;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{BillingLineId, CwAgreementId};
use crate::domain::mapping_status::MappingStatus;
use crate::services::context::AppContext;
use crate::services::remote::additions;
use crate::services::security::actor::Actor;

/// Returns the agreements that lines would resolve to and whose additions were never read, or not since `older_than`.
fn additions_wanted(
    tx: &mut Tx<'_>,
    filter: &LineFilter,
    older_than: Timestamp,
    now: Timestamp,
) -> Result<Vec<CwAgreementId>> {
    let rows = tx.mapped_lines(filter)?;
    let rules = rules(tx, filter.product_id.as_ref())?;
    let record_index = record_index(tx, &rows, filter, now)?;
    let none = Rules::default();
    let wanted: HashSet<CwAgreementId> = rows
        .iter()
        .map(|line| resolve_mappings(&record_index, rules.get(&line.product_id).unwrap_or(&none), line).0)
        .filter(|mapping| mapping.status == MappingStatus::Resolved)
        .filter_map(|mapping| mapping.target)
        .collect();
    let wanted: Vec<CwAgreementId> = wanted.into_iter().collect();
    tx.agreements_with_additions_older_than(&wanted, older_than)
}

/// Reads the additions that lines need, unless they were read since `older_than`. Returns the number of agreements
/// whose additions were read.
pub async fn read_additions(
    ctx: &AppContext,
    actor: &Actor,
    filter: &LineFilter,
    older_than: Timestamp,
) -> Result<usize> {
    let (filter, now) = (filter.clone(), ctx.clock.now());
    let wanted = ctx.db.read(&actor.tenant, move |tx| additions_wanted(tx, &filter, older_than, now)).await?;
    let count = wanted.len();
    additions::read(ctx, &actor.tenant, wanted, RetryPolicy::Interactive).await?;
    Ok(count)
}

/// Reads the additions that lines need and that were never read, and resolves the lines again. After a failure the
/// lines stay at `additions_not_read` until the next resolve or refresh. Returns `None` after a failure, or if nothing
/// was missing.
pub async fn fetch_missing_additions(ctx: &AppContext, actor: &Actor, filter: LineFilter) -> Option<Resolved> {
    // The request itself is already committed and succeeds, even if this fails.
    match read_and_resolve(ctx, actor, filter).await {
        Ok(resolved) => resolved,
        Err(error) => {
            tracing::warn!(
                tenant = %actor.tenant, cause = %error.chain(),
                "failed to read additions; the next resolve or refresh reads them"
            );
            None
        }
    }
}

async fn read_and_resolve(ctx: &AppContext, actor: &Actor, filter: LineFilter) -> Result<Option<Resolved>> {
    // Nothing was read before the epoch, so this selects only additions that were never read.
    if read_additions(ctx, actor, &filter, Timestamp::UNIX_EPOCH).await? == 0 {
        return Ok(None);
    }
    let (now, by) = (ctx.clock.now(), actor.shown_name());
    ctx.db.write(&actor.tenant, move |tx| resolve_lines(tx, &filter, now, &by)).await.map(Some)
}

/// Calls [`fetch_missing_additions`] if lines wait for additions, and merges its result into `resolved`.
pub async fn with_additions(ctx: &AppContext, actor: &Actor, filter: LineFilter, resolved: Resolved) -> Resolved {
    if resolved.waiting == 0 {
        return resolved;
    }
    // Boxed, because the caller may itself be a refresh.
    match Box::pin(fetch_missing_additions(ctx, actor, filter)).await {
        Some(later) => merged(resolved, later),
        None => resolved,
    }
}

/// Merges two results of resolving the same lines: each change leads from the first state of a line to its last.
fn merged(first: Resolved, second: Resolved) -> Resolved {
    let mut changes = first.changes;
    let places: HashMap<BillingLineId, usize> =
        changes.iter().enumerate().map(|(place, change)| (change.billing_line_id.clone(), place)).collect();
    for change in second.changes {
        match places.get(&change.billing_line_id).and_then(|place| changes.get_mut(*place)) {
            Some(known) => {
                known.agreement.1 = change.agreement.1;
                known.addition.1 = change.addition.1;
            }
            None => changes.push(change),
        }
    }
    Resolved { changes, ..second }
}
