//! The quantities that pushes wrote, or found unchanged, for a billing line, an addition or a month.

use std::collections::{HashMap, HashSet};

use diesel::dsl::exists;
use diesel::prelude::*;

use crate::db::engine::conn::run_fixed;
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::chunks;
use crate::db::engine::schema::{billing_lines, push_jobs, push_lines};
use crate::db::engine::scope::{or_empty, scoped_joined_from};
use crate::db::engine::tx::Tx;
use crate::db::queries::push_jobs::PushLine;
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{BillingLineId, CompanyId, CwAdditionId, ProductId, PushJobId, PushLineId};
use crate::domain::push::PushKind;
use crate::domain::push::{LaterWrite, PushLineState, PushReason};
use crate::domain::quantity::Quantity;

/// The states in which an addition has, or may have, a push's quantity: written, found unchanged, or unverified.
pub(in crate::db) const WRITTEN: [PushLineState; 3] =
    [PushLineState::Pushed, PushLineState::Unchanged, PushLineState::Unverified];

/// A push line whose quantity is, or may be, in ConnectWise, compared with an earlier line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaterLine {
    pub id: PushLineId,
    pub job_id: PushJobId,
    pub billing_line_id: BillingLineId,
    pub addition_id: Option<CwAdditionId>,
    state: PushLineState,
    billing_month: BillingMonth,
    quantity: Option<Quantity>,
}

impl LaterLine {
    /// Describes this line as a later write, relative to an earlier line.
    pub fn relative_to(&self, line: &PushLine) -> LaterWrite {
        LaterWrite {
            state: self.state,
            billing_month: self.billing_month,
            quantity: self.quantity,
            same_billing_line: self.billing_line_id == line.billing_line_id,
        }
    }
}

/// The quantity that a push of a line wrote or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushedQuantity {
    /// The addition that the push wrote. The line may bill to another addition now.
    pub addition_id: Option<CwAdditionId>,
    /// The quantity; `None` if it is unknown whether it was written.
    pub quantity: Option<Quantity>,
}

type Row = (
    PushLineId,
    PushJobId,
    BillingLineId,
    Option<CwAdditionId>,
    PushLineState,
    Option<Quantity>,
    Option<BillingMonth>,
    BillingMonth,
);

impl From<Row> for LaterLine {
    fn from((id, job_id, billing_line_id, addition_id, state, quantity, month, job_month): Row) -> Self {
        let billing_month = month.unwrap_or(job_month);
        Self { id, job_id, billing_line_id, addition_id, state, billing_month, quantity }
    }
}

/// The columns of a [`LaterLine`].
macro_rules! newer_line {
    () => {
        (
            push_lines::id,
            push_lines::job_id,
            push_lines::billing_line_id,
            push_lines::addition_id,
            push_lines::state,
            push_lines::to_quantity,
            push_lines::billing_month,
            push_jobs::billing_month.assume_not_null(),
        )
    };
}

/// Lines of push jobs (not dry runs) in one of the [`WRITTEN`] states.
macro_rules! written {
    ($tx:expr) => {{
        let [first, second, third] = $crate::db::queries::push_written::WRITTEN;
        let state = push_lines::state;
        scoped_joined_from!($tx, push_lines, push_jobs)
            .filter(or_empty!(push_jobs::kind).eq(PushKind::Push))
            .filter(state.eq(first).or(state.eq(second)).or(state.eq(third)))
    }};
}

pub(in crate::db) use written;

/// Whether push lines bill some months, or later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PushedMonths {
    /// No push line does.
    None,
    /// Some do, and all push lines have a month of their own.
    WithMonth,
    /// There are push lines without a month of their own.
    SomeWithoutMonth,
}

impl Tx<'_> {
    /// The push lines that are later than the earliest of `lines` and have the same billing line or addition as one of
    /// them. The caller compares each with its own line, because a row may be earlier than some of them.
    pub fn written_since(&mut self, lines: &[PushLine]) -> Result<Vec<LaterLine>> {
        let Some(first) = lines.iter().map(|line| &line.id).min() else { return Ok(Vec::new()) };
        let billing_lines: Vec<BillingLineId> = lines.iter().map(|line| line.billing_line_id.clone()).collect();
        let additions: Vec<CwAdditionId> = lines.iter().filter_map(|line| line.addition_id).collect();
        // Two statements, because no index serves one condition on two columns.
        let of_lines = written!(self)
            .filter(push_lines::id.gt(first.clone()))
            .filter(push_lines::billing_line_id.in_list(billing_lines));
        let mut rows: Vec<Row> = of_lines.select(newer_line!()).load(self.conn)?;
        let of_additions =
            written!(self).filter(push_lines::id.gt(first.clone())).filter(push_lines::addition_id.in_list(additions));
        rows.extend(of_additions.select(newer_line!()).load::<Row>(self.conn)?);
        Ok(rows.into_iter().map(LaterLine::from).collect())
    }

    /// The lines that later jobs wrote for the billing lines, or to the additions, of the given lines of a job.
    pub fn written_after_job(&mut self, job: &PushJobId, lines: &[PushLine]) -> Result<Vec<LaterLine>> {
        let mut rows: Vec<Row> = Vec::new();
        let billing_lines: Vec<BillingLineId> = lines.iter().map(|line| line.billing_line_id.clone()).collect();
        for chunk in chunks(&billing_lines) {
            let later = written!(self)
                .filter(push_lines::job_id.gt(job.clone()))
                .filter(push_lines::billing_line_id.in_list(chunk));
            rows.extend(later.select(newer_line!()).load::<Row>(self.conn)?);
        }
        let additions: Vec<CwAdditionId> = lines.iter().filter_map(|line| line.addition_id).collect();
        for chunk in chunks(&additions) {
            let later = written!(self)
                .filter(push_lines::job_id.gt(job.clone()))
                .filter(push_lines::addition_id.in_list(chunk));
            rows.extend(later.select(newer_line!()).load::<Row>(self.conn)?);
        }
        Ok(rows.into_iter().map(LaterLine::from).collect())
    }

    /// The companies, products and months for which a push has computed a quantity or found that there is none,
    /// whatever its result. Lines that were not enabled do not count.
    pub fn months_computed(
        &mut self,
        companies: &[CompanyId],
        products: &[ProductId],
        months: &[BillingMonth],
    ) -> Result<HashSet<(CompanyId, ProductId, BillingMonth)>> {
        let pushed = self.pushed_months(months)?;
        if pushed == PushedMonths::None {
            return Ok(HashSet::new());
        }
        let mut lines: HashMap<BillingLineId, (CompanyId, ProductId)> = HashMap::new();
        for chunk in chunks(companies) {
            let scoped = self
                .scoped(billing_lines::table)
                .filter(billing_lines::company_id.in_list(chunk))
                .filter(billing_lines::product_id.in_list(products));
            let rows: Vec<(BillingLineId, CompanyId, ProductId)> = scoped
                .select((billing_lines::id, billing_lines::company_id, billing_lines::product_id))
                .load(self.conn)?;
            lines.extend(rows.into_iter().map(|(id, company, product)| (id, (company, product))));
        }
        let ids: Vec<BillingLineId> = lines.keys().cloned().collect();
        let mut found = HashSet::new();
        for chunk in chunks(&ids) {
            let known = || {
                scoped_joined_from!(self, push_lines, push_jobs)
                    .filter(or_empty!(push_jobs::kind).eq(PushKind::Push))
                    .filter(push_lines::billing_line_id.in_list(&chunk))
                    .filter(push_lines::reason.is_null().or(push_lines::reason.ne(PushReason::Disabled)))
            };
            let (of_month, of_job) = (known(), known());
            let of_month = of_month.filter(push_lines::billing_month.in_list(months));
            let of_month = of_month.select((push_lines::billing_line_id, push_lines::billing_month.assume_not_null()));
            let mut rows: Vec<(BillingLineId, BillingMonth)> = of_month.distinct().load(self.conn)?;
            if pushed == PushedMonths::SomeWithoutMonth {
                // A statement of its own, because no index serves one condition over two tables.
                let of_job = of_job.filter(push_lines::billing_month.is_null());
                let of_job = of_job.filter(push_jobs::billing_month.in_list(months));
                let of_job = of_job.select((push_lines::billing_line_id, push_jobs::billing_month.assume_not_null()));
                rows.extend(of_job.distinct().load::<(BillingLineId, BillingMonth)>(self.conn)?);
            }
            found.extend(rows.into_iter().filter_map(|(line, month)| {
                let (company, product) = lines.get(&line)?.clone();
                Some((company, product, month))
            }));
        }
        Ok(found)
    }

    /// The quantity that the last push of each given billing line wrote, or found in ConnectWise, for each of the
    /// months.
    pub fn last_written(
        &mut self,
        lines: &[BillingLineId],
        months: &[BillingMonth],
    ) -> Result<HashMap<(BillingLineId, BillingMonth), PushedQuantity>> {
        let pushed = self.pushed_months(months)?;
        if pushed == PushedMonths::None {
            return Ok(HashMap::new());
        }
        let mut newest: Vec<Option<PushLineId>> = Vec::new();
        for chunk in chunks(lines) {
            let of_lines = || written!(self).filter(push_lines::billing_line_id.in_list(&chunk));
            let of_month = of_lines()
                .filter(push_lines::billing_month.in_list(months))
                .group_by((push_lines::billing_line_id, push_lines::billing_month))
                .select(diesel::dsl::max(push_lines::id));
            if pushed == PushedMonths::SomeWithoutMonth {
                let of_job = of_lines()
                    .filter(push_lines::billing_month.is_null())
                    .filter(push_jobs::billing_month.in_list(months))
                    .group_by((push_lines::billing_line_id, push_jobs::billing_month))
                    .select(diesel::dsl::max(push_lines::id));
                newest.extend(of_job.load::<Option<PushLineId>>(self.conn)?);
            }
            newest.extend(of_month.load::<Option<PushLineId>>(self.conn)?);
        }
        self.written_by(&newest.into_iter().flatten().collect::<Vec<_>>())
    }

    /// Whether push lines bill one of the months, or a later one. One statement.
    fn pushed_months(&mut self, months: &[BillingMonth]) -> Result<PushedMonths> {
        let Some(first) = months.iter().min() else { return Ok(PushedMonths::None) };
        // Lines stored by earlier versions have no month of their own, and bill the job's month.
        let unnamed = self.scoped(push_lines::table).filter(push_lines::billing_month.is_null());
        // Only columns of the index of months, or SQLite would read another one.
        let unnamed = unnamed.select(push_lines::job_id);
        // In the order of the index of months. PostgreSQL would read all lines to find that there are none.
        let named = self.scoped(push_lines::table).filter(push_lines::billing_month.ge(first));
        let named = named.order((push_lines::billing_month, push_lines::job_id)).select(push_lines::job_id).limit(1);
        let found = diesel::select((exists(unnamed), named.single_value()));
        let found: (bool, Option<PushJobId>) = run_fixed!(self, found, get_result)?;
        Ok(match found {
            (true, _) => PushedMonths::SomeWithoutMonth,
            (false, Some(_)) => PushedMonths::WithMonth,
            (false, None) => PushedMonths::None,
        })
    }

    /// The quantity that the last push of each given line wrote or found, whatever month it billed.
    pub fn last_pushed(&mut self, lines: &[BillingLineId]) -> Result<HashMap<BillingLineId, PushedQuantity>> {
        let mut newest: Vec<Option<PushLineId>> = Vec::new();
        for chunk in chunks(lines) {
            let of_lines = written!(self).filter(push_lines::billing_line_id.in_list(chunk));
            let of_lines = of_lines.group_by(push_lines::billing_line_id).select(diesel::dsl::max(push_lines::id));
            newest.extend(of_lines.load::<Option<PushLineId>>(self.conn)?);
        }
        let found = self.written_by(&newest.into_iter().flatten().collect::<Vec<_>>())?;
        Ok(found.into_iter().map(|((line, _), pushed)| (line, pushed)).collect())
    }

    /// The quantities that push lines wrote or found, by billing line and month.
    fn written_by(&mut self, ids: &[PushLineId]) -> Result<HashMap<(BillingLineId, BillingMonth), PushedQuantity>> {
        let mut found = HashMap::new();
        for chunk in chunks(ids) {
            let rows: Vec<Row> = scoped_joined_from!(self, push_lines, push_jobs)
                .filter(push_lines::id.in_list(chunk))
                // If a month has lines with and without a month of their own, the lines with one are later.
                .order(push_lines::id)
                .select(newer_line!())
                .load(self.conn)?;
            found.extend(rows.into_iter().map(LaterLine::from).map(|line| {
                let quantity = line.quantity.filter(|_| line.state != PushLineState::Unverified);
                ((line.billing_line_id, line.billing_month), PushedQuantity { addition_id: line.addition_id, quantity })
            }));
        }
        Ok(found)
    }
}
