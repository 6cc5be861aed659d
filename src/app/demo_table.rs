//! The results of the demo's push, as tables.

use super::application::StartError;
use super::demo_tenant::DemoTenant;
use crate::db::PushLine;
use crate::domain::ids::PushJobId;
use crate::domain::push::PushLineState;
use crate::services::push::Progress;

/// The column headings.
pub(super) const HEADER: [&str; 8] =
    ["Company", "Agreement", "Addition", "Usage", "Block size", "Quantity", "From -> to", "Result"];

/// Some push lines under one heading, one row per line.
pub(super) struct LineTable {
    pub(super) heading: String,
    pub(super) rows: Vec<[String; 8]>,
}

/// A push line and its row.
struct Line {
    product: String,
    state: PushLineState,
    outcome: String,
    row: [String; 8],
}

/// All lines, one table per product.
pub(super) async fn by_product(tenant: &DemoTenant, job: &PushJobId) -> Result<Vec<LineTable>, StartError> {
    Ok(grouped(lines(tenant, job).await?, |line| line.product.clone()))
}

/// The lines that were neither pushed nor unchanged, one table per outcome and product.
pub(super) async fn exceptions(tenant: &DemoTenant, job: &PushJobId) -> Result<Vec<LineTable>, StartError> {
    let mut lines = lines(tenant, job).await?;
    lines.retain(|line| !matches!(line.state, PushLineState::Pushed | PushLineState::Unchanged));
    let mut tables = grouped(lines, |line| format!("{}, {}", line.outcome, line.product));
    for table in &mut tables {
        let count = table.rows.len();
        table.heading = format!("{}: {count} {}", table.heading, if count == 1 { "line" } else { "lines" });
    }
    // By outcome first, then by product.
    tables.sort_by(|one, other| one.heading.cmp(&other.heading));
    Ok(tables)
}

/// Groups lines into tables, in the order in which the headings first occur.
fn grouped(lines: Vec<Line>, heading: impl Fn(&Line) -> String) -> Vec<LineTable> {
    let mut tables: Vec<LineTable> = Vec::new();
    for line in lines {
        let heading = heading(&line);
        match tables.iter_mut().find(|table| table.heading == heading) {
            Some(table) => table.rows.push(line.row),
            None => tables.push(LineTable { heading, rows: vec![line.row] }),
        }
    }
    tables
}

/// The lines of a job, grouped by product.
async fn lines(tenant: &DemoTenant, job: &PushJobId) -> Result<Vec<Line>, StartError> {
    let job = job.clone();
    let lines = tenant.ctx.db.read(&tenant.actor.tenant, move |tx| tx.all_push_lines(&job, None));
    let lines = lines.await.map_err(|error| error.chain())?;
    let by_hand = tenant.lines_chosen_by_hand().await?;
    let mut found = Vec::new();
    for (code, name, unit) in tenant.units().await? {
        for line in lines.iter().filter(|line| line.product_code == code) {
            let row = row(line, &unit, by_hand.contains(&line.billing_line_id));
            let product = format!("{name} ({code})");
            found.push(Line { product, state: line.state, outcome: outcome(line), row });
        }
    }
    Ok(found)
}

fn row(line: &PushLine, unit: &str, by_hand: bool) -> [String; 8] {
    let agreement =
        line.agreement_name.as_ref().map(|name| if by_hand { format!("{name} (by hand)") } else { name.clone() });
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let change = match (line.state, line.from_quantity, line.to_quantity) {
        (PushLineState::Pushed | PushLineState::Failed, Some(from), Some(to)) => format!("{from} -> {to}"),
        (PushLineState::Unchanged, Some(from), _) => from.to_string(),
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
    match (line.reason, &line.detail) {
        (Some(_), Some(detail)) => format!("{} ({detail})", outcome(line)),
        _ => outcome(line),
    }
}

/// The line's state, and its reason if it has one.
fn outcome(line: &PushLine) -> String {
    line.reason.map_or_else(|| line.state.to_string(), |reason| format!("{}: {reason}", line.state))
}

/// The number of lines in each state, and the job's state.
pub(super) fn summary(progress: &Progress) -> String {
    let mut counts: Vec<_> = progress.counts.iter().collect();
    counts.sort();
    let counts: Vec<String> = counts.into_iter().map(|(state, lines)| format!("{lines} {state}")).collect();
    format!("{} lines: {}. The job {}.", progress.job.line_count, counts.join(", "), progress.job.state)
}
