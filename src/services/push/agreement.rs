//! Reads the current state of agreements from ConnectWise before a push writes to them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{NaiveDate, TimeDelta};
use tokio::time::Instant;

use super::claimed::ClaimedLines;
use crate::connectwise::{Client, ConnectionFault, CustomFields, CwError, ListBudget, RetryPolicy};
use crate::db::{LineResult, Product, PushLine, Tx};
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{CwAdditionId, CwAgreementId, ProductId};
use crate::domain::invoices::{WhenInvoiced, is_invoiced};
use crate::domain::push::PushReason;
use crate::domain::records::{Addition, Agreement};
use crate::domain::{ConflictCode, Error, Result};
use crate::services::push::line_result::{PushInterrupted, ReadBack, StopReason};
use crate::services::remote::client;
use crate::services::remote::refresh;
use crate::services::schedule::billing_calendar;

/// How long a job uses the lists of companies and agreements before it reads them again.
const LISTS_VALID_FOR: TimeDelta = TimeDelta::hours(1);

/// How long after an agreement was read its lines may be written. A person's change in between is overwritten.
const READ_VALID_FOR: Duration = Duration::from_secs(30);

/// The data that the claimed lines are compared with.
pub(super) struct PushContext {
    pub(super) client: Arc<Client>,
    /// The live additions of the agreements that were read.
    pub(super) additions: HashMap<(CwAgreementId, CwAdditionId), Addition>,
    /// The custom field of additions for the push's id and date, with the text to write; `None` if no field is set.
    provenance: Option<(String, String)>,
    /// The custom fields of the additions, if the push writes to one of them.
    custom_fields: HashMap<(CwAgreementId, CwAdditionId), CustomFields>,
    /// When these agreements were read.
    read_at: HashMap<CwAgreementId, Instant>,
    pub(super) products: HashMap<ProductId, Product>,
    agreements: HashMap<CwAgreementId, Agreement>,
    /// The current agreements, with their parents, of lines that are held or skipped once they are invoiced.
    invoiced: HashMap<CwAgreementId, Agreement>,
    today: NaiveDate,
    /// The memory of the additions that were read.
    lists: ListBudget,
}

impl PushContext {
    /// An addition's custom fields with a note of this push; `None` if no field is set for the note, or the addition
    /// lacks it.
    pub(super) fn fields_with_provenance(
        &self,
        agreement: CwAgreementId,
        addition: CwAdditionId,
    ) -> Option<CustomFields> {
        let (field, note) = self.provenance.as_ref()?;
        self.custom_fields.get(&(agreement, addition))?.with_text(field, note)
    }

    /// Whether an agreement was read so recently that its lines may be written.
    pub(super) fn is_fresh(&self, agreement: CwAgreementId) -> bool {
        self.read_at.get(&agreement).is_some_and(|at| at.elapsed() <= READ_VALID_FOR)
    }

    /// Returns why the invoice for a month counts as made, on the agreement or on its parent; `None` if it does not.
    pub(super) fn invoiced_after(&self, agreement: CwAgreementId, month: BillingMonth) -> Option<String> {
        let own = self.invoiced.get(&agreement)?;
        let parent = own.terms.parent.and_then(|parent| self.invoiced.get(&parent));
        let terms = &parent.unwrap_or(own).terms;
        if !is_invoiced(month, terms) {
            return None;
        }
        Some(match (terms.last_invoice.filter(|last| *last >= month.next().first_day()), terms.next_invoice) {
            (Some(last), _) => format!("the agreement was invoiced on {last}, after {month}"),
            (None, Some(next)) => {
                format!("the agreement's next invoice is on {next}, after the invoice for {month}")
            }
            (None, None) => format!("the agreement was invoiced after {month}"),
        })
    }

    /// Stores the agreement as it is now, but keeps the last invoice date of the stored copy, because only the
    /// agreement recap has it.
    fn keep_invoiced(&mut self, mut agreement: Agreement) {
        if let Some(stored) = self.agreements.get(&agreement.id) {
            agreement.terms.last_invoice = stored.terms.last_invoice;
        }
        self.invoiced.insert(agreement.id, agreement);
    }
}

async fn read_additions(context: &mut PushContext, agreement: CwAgreementId) -> Result<Vec<Addition>, CwError> {
    let client = context.client.clone();
    if context.provenance.is_none() {
        return client.additions(agreement, RetryPolicy::Background, &context.lists).await;
    }
    let read = client.additions_with_custom_fields(agreement, RetryPolicy::Background, &context.lists).await?;
    let mut additions = Vec::with_capacity(read.len());
    for (addition, fields) in read {
        context.custom_fields.insert((agreement, addition.id), fields);
        additions.push(addition);
    }
    Ok(additions)
}

impl ClaimedLines<'_> {
    /// Reads the data that all claimed lines need, except the additions.
    pub(super) async fn prepare(&self) -> Result<PushContext, PushInterrupted> {
        self.refresh_lists(self.left.values().any(|line| line.approved)).await?;
        let now = self.ctx.clock.now();
        let agreements: BTreeSet<CwAgreementId> = self.left.values().filter_map(|line| line.agreement_id).collect();
        let products: BTreeSet<ProductId> = self.left.values().map(|line| line.product_id.clone()).collect();
        let (agreements, products) = (Vec::from_iter(agreements), Vec::from_iter(products));
        let read = move |tx: &mut Tx<'_>| {
            let mut agreements = tx.agreements_by_id(&agreements)?;
            let parents: Vec<CwAgreementId> = agreements.iter().filter_map(|row| row.parent_id).collect();
            agreements.extend(tx.agreements_by_id(&parents)?);
            Ok((agreements, billing_calendar::today(tx, now)?, tx.products_by_id(&products)?, tx.connection()?))
        };
        let (agreements, today, products, connection) = self.ctx.db.read(&self.tenant, read).await?;
        let connection = connection.ok_or_else(client::not_connected)?;
        let note = format!("push {} of {today}", self.job.id);
        Ok(PushContext {
            client: client::for_connection(self.ctx, &connection)?,
            provenance: connection.provenance_field.map(|field| (field, note)),
            custom_fields: HashMap::new(),
            lists: ListBudget::default(),
            additions: HashMap::new(),
            read_at: HashMap::new(),
            products: products.into_iter().map(|row| (row.id.clone(), row)).collect(),
            invoiced: HashMap::new(),
            agreements: agreements.into_iter().map(Agreement::from).map(|row| (row.id, row)).collect(),
            today,
        })
    }

    /// Reads an agreement's current additions from ConnectWise. Errors if the agreement is no longer live, or cannot be
    /// read.
    pub(super) async fn read_agreement(
        &self,
        context: &mut PushContext,
        agreement: CwAgreementId,
    ) -> Result<(), StopReason> {
        let Some(known) = context.agreements.get(&agreement) else {
            return Err(StopReason::Stale("agreement: no longer known".to_owned()));
        };
        if let Some(reason) = known.not_live_reason(context.today) {
            return Err(StopReason::Stale(format!("agreement: {reason}")));
        }
        if let Err(error) = self.read_terms(context, agreement).await {
            return Err(self.classify(&context.client, error).await);
        }
        let begun = Instant::now();
        match read_additions(context, agreement).await {
            Ok(additions) => {
                // Additions that are no longer live are treated as deleted.
                let live = additions.into_iter().filter(|row| row.not_live_reason(context.today).is_none());
                context.additions.extend(live.map(|row| ((agreement, row.id), row)));
                context.read_at.insert(agreement, begun);
                Ok(())
            }
            Err(error) => Err(self.classify(&context.client, error).await),
        }
    }

    /// Reads the current terms of an agreement and its parent, if one of its lines is held or skipped once it is
    /// invoiced. Invoices may have been made since the lists were read.
    async fn read_terms(&self, context: &mut PushContext, agreement: CwAgreementId) -> Result<(), CwError> {
        let checks_invoice = |line: &PushLine| {
            let product = context.products.get(&line.product_id);
            line.agreement_id == Some(agreement)
                && product.is_some_and(|product| product.when_invoiced != WhenInvoiced::Warn)
        };
        if self.is_revert() || !self.left.values().any(checks_invoice) {
            return Ok(());
        }
        let own = context.client.agreement(agreement, RetryPolicy::Background).await?;
        let parent = own.as_ref().and_then(|own| own.terms.parent);
        own.into_iter().for_each(|own| context.keep_invoiced(own));
        if let Some(parent) = parent.filter(|parent| !context.invoiced.contains_key(parent)) {
            let parent = context.client.agreement(parent, RetryPolicy::Background).await?;
            parent.into_iter().for_each(|parent| context.keep_invoiced(parent));
        }
        Ok(())
    }

    /// Reads companies and agreements again if the stored lists are too old.
    async fn refresh_lists(&self, approved: bool) -> Result<(), PushInterrupted> {
        // The age is counted from the job's creation, so a job reads the lists once, and again for each hour that it
        // takes. It may wait for its connection for days. An approval may also come days after the job.
        let now = self.ctx.clock.now();
        let since = if approved { now } else { self.job.created_at.and_utc().max(now - LISTS_VALID_FOR) };
        let oldest = since - self.ctx.settings.refresh_max_age;
        match refresh::ensure_since(self.ctx, &self.tenant, oldest, RetryPolicy::Background).await {
            Ok(()) => Ok(()),
            // The lists do not depend on one line: a failure is either a fault of the connection or temporary.
            Err(Error::ConnectWise { connection_at_fault: true, detail, .. }) => {
                let client = client::for_tenant(self.ctx, &self.tenant).await?;
                Err(self.confirm(&client, detail).await.into())
            }
            Err(Error::ConnectWise { detail, .. }) => {
                let client = client::for_tenant(self.ctx, &self.tenant).await?;
                Err(client
                    .paused_for()
                    .map_or(StopReason::Retry(detail.clone()), |wait| StopReason::Wait(wait, detail))
                    .into())
            }
            Err(Error::Conflict {
                code: ConflictCode::RefreshRunning | ConflictCode::ConnectionChanged,
                detail,
                ..
            }) => Err(StopReason::Busy(detail).into()),
            // For example, a list lacks most of the known records: a person must check it.
            Err(Error::Conflict { detail, .. }) => Err(StopReason::Connection(detail).into()),
            Err(other) => Err(other.into()),
        }
    }

    /// Classifies a failure of one agreement or addition. A single unusual response never stops a job: a fault of the
    /// connection is confirmed by a request that does not depend on the agreement.
    pub(super) async fn classify(&self, client: &Client, error: CwError) -> StopReason {
        match error {
            // The API member may lack permission for this agreement only.
            CwError::Configuration { fault: ConnectionFault::Permission(_), ref detail } => {
                StopReason::Failed(PushReason::Connection, detail.clone())
            }
            CwError::Configuration { detail, .. } => self.confirm(client, detail).await,
            other => StopReason::of(other),
        }
    }

    async fn confirm(&self, client: &Client, detail: String) -> StopReason {
        match client.check_connection().await {
            Err(CwError::Configuration { detail, .. }) => StopReason::Connection(detail),
            _ => StopReason::Retry(detail),
        }
    }

    /// Reads back, with one request, the additions of an agreement's lines whose writes were sent but whose responses
    /// were lost.
    pub(super) async fn read_back(&self, lines: &[(PushLine, LineResult)]) -> Vec<ReadBack> {
        let Some(agreement) = lines.first().and_then(|(line, _)| line.agreement_id) else {
            return vec![ReadBack::Unreadable; lines.len()];
        };
        let budget = ListBudget::default();
        let read = match client::for_tenant(self.ctx, &self.tenant).await {
            Ok(client) => client.additions(agreement, RetryPolicy::Interactive, &budget).await,
            Err(_) => return vec![ReadBack::Unreadable; lines.len()],
        };
        if let Err(CwError::CircuitOpen(wait) | CwError::Throttled(wait)) = read {
            // Nothing was read, so nothing is known yet.
            return vec![ReadBack::NotYet(wait); lines.len()];
        }
        let look = |(line, _): &(PushLine, LineResult)| match (&read, line.addition_id) {
            (Ok(additions), Some(id)) => {
                let found = additions.iter().find(|addition| addition.id == id);
                found.map_or(ReadBack::NotFound, |addition| ReadBack::Has(addition.quantity))
            }
            (Err(CwError::NotFound), _) => ReadBack::NotFound,
            _ => ReadBack::Unreadable,
        };
        lines.iter().map(look).collect()
    }
}
