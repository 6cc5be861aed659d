//! Checks whether lines may still be written after changes since their job was stored.

use std::collections::{HashMap, HashSet};

use crate::db::{CurrentTarget, LaterLine, LineResult, PushLine, Tx};
use crate::domain::Result;
use crate::domain::ids::{BillingLineId, CwAdditionId, PushLineId};
use crate::domain::mapping_status::MappingStatus;
use crate::domain::push::PushReason;
use crate::services::push::line_result::skipped;

/// Returns the results of the lines that must no longer be written, because something changed after their job was
/// stored.
pub(super) fn check(tx: &mut Tx<'_>, lines: &[PushLine], is_revert: bool) -> Result<HashMap<PushLineId, LineResult>> {
    let later = tx.written_since(lines)?;
    let superseded = |line: &PushLine| Some((line.id.clone(), superseded(&later, line, is_revert)?));
    let mut results: HashMap<PushLineId, LineResult> = lines.iter().filter_map(superseded).collect();
    if is_revert {
        // A revert restores the addition that was written, whatever the line bills to now.
        return Ok(results);
    }
    let ids: Vec<BillingLineId> = lines.iter().map(|line| line.billing_line_id.clone()).collect();
    let present: HashMap<BillingLineId, CurrentTarget> =
        tx.billed_to(&ids)?.into_iter().map(|line| (line.id.clone(), line)).collect();
    let additions: Vec<CwAdditionId> = lines.iter().filter_map(|line| line.addition_id).collect();
    let shared = tx.additions_shared_by_lines(&additions)?;
    for line in lines {
        if let Some((reason, why)) = changed(line, present.get(&line.billing_line_id), &shared) {
            results.entry(line.id.clone()).or_insert_with(|| skipped(reason, why.to_owned()));
        }
    }
    Ok(results)
}

/// Returns why a line must not be written, if its billing line changed after its job was stored.
fn changed(
    line: &PushLine,
    present: Option<&CurrentTarget>,
    shared: &HashSet<CwAdditionId>,
) -> Option<(PushReason, &'static str)> {
    let Some(present) = present else { return Some((PushReason::Stale, "the billing line was deleted")) };
    if !present.push_enabled {
        return Some((PushReason::Disabled, "push was disabled after the job was stored"));
    }
    let statuses = [present.agreement_status, present.addition_status];
    let is_resolved = statuses.iter().all(|status| *status == MappingStatus::Resolved);
    if !is_resolved || present.agreement_id != line.agreement_id || present.addition_id != line.addition_id {
        let why = "the agreement or addition of the line changed after the job was stored: push again";
        return Some((PushReason::Stale, why));
    }
    if line.addition_id.is_some_and(|id| shared.contains(&id)) {
        let why = "another enabled billing line now resolves to this addition: give each its own";
        return Some((PushReason::AdditionShared, why));
    }
    None
}

/// Returns a result if a later job wrote the addition or pushed the billing line, or found its own quantity. A revert yields to every later
/// line, including an unverified one, because it would restore a quantity from before that line.
fn superseded(later: &[LaterLine], line: &PushLine, is_revert: bool) -> Option<LineResult> {
    let concerns = |later: &&LaterLine| {
        later.id > line.id
            && (later.billing_line_id == line.billing_line_id
                || (line.addition_id.is_some() && later.addition_id == line.addition_id))
    };
    let newer = later
        .iter()
        .filter(concerns)
        .find(|later| is_revert || later.relative_to(line).supersedes(line.from_quantity))?;
    let detail = format!("push job {} has since written this addition, or found its own quantity there", newer.job_id);
    Some(skipped(PushReason::Superseded, detail))
}
