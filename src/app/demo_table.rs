//! What the demo's push did, as tables.

use super::application::StartError;
use super::demo_tenant::DemoTenant;
use crate::db::PushLine;
use crate::domain::ids::PushJobId;
use crate::domain::push::LineState;
use crate::services::push::Progress;

/// The columns.
pub(super) const HEADER: [&str; 8] =
    ["Company", "Agreement", "Addition", "Usage", "Block size", "Quantity", "From -> to", "Result"];

/// The rows of each product, with the product's name.
pub(super) async fn rows(tenant: &DemoTenant, job: &PushJobId) -> Result<Vec<(String, Vec<[String; 8]>)>, StartError> {
    let job = job.clone();
    let lines = tenant.services.db.read(&tenant.actor.tenant, move |tx| tx.all_push_lines(&job, None));
    let lines = lines.await.map_err(|error| error.chain())?;
    let products = tenant.units().await?;
    let by_hand = tenant.lines_chosen_by_hand().await?;
    let of = |(code, name, unit): (String, String, String)| {
        let rows = lines.iter().filter(|line| line.product_code == code);
        let rows = rows.map(|line| row(line, &unit, by_hand.contains(&line.billing_line_id))).collect();
        (format!("{name} ({code})"), rows)
    };
    Ok(products.into_iter().map(of).collect())
}

fn row(line: &PushLine, unit: &str, by_hand: bool) -> [String; 8] {
    let agreement =
        line.agreement_name.as_ref().map(|name| if by_hand { format!("{name} (by hand)") } else { name.clone() });
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let change = match (line.state, line.from_quantity, line.to_quantity) {
        (LineState::Pushed | LineState::Failed, Some(from), Some(to)) => format!("{from} -> {to}"),
        (LineState::Unchanged, Some(from), _) => from.to_string(),
        _ => "-".to_owned(),
    };
    [
        line.company_name.clone(),
        text(agreement),
        text(line.addition_name.clone()),
        text(line.usage_amount.map(|usage| format!("{usage} {unit}"))),
        text(line.block_size.map(|size| size.to_string())),
        text(line.to_quantity.map(|quantity| quantity.to_string())),
        change,
        result(line),
    ]
}

fn result(line: &PushLine) -> String {
    let detail = line.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
    match line.reason {
        Some(reason) => format!("{}: {reason}{detail}", line.state),
        None => line.state.to_string(),
    }
}

/// How many lines came to what.
pub(super) fn summary(progress: &Progress) -> String {
    let mut counts: Vec<_> = progress.counts.iter().collect();
    counts.sort();
    let counts: Vec<String> = counts.into_iter().map(|(state, lines)| format!("{lines} {state}")).collect();
    format!("{} lines: {}. The job {}.", progress.job.line_count, counts.join(", "), progress.job.state)
}
