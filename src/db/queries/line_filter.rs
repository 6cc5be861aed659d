//! The filter that selects billing lines.

use crate::domain::ids::{BillingLineId, CompanyId, ProductId};
use crate::domain::line_need::LineNeed;
use crate::domain::mapping_status::{MappingSource, MappingStatus};
use crate::domain::push::PushLineState;

/// The filter of billing lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineFilter {
    /// Only lines of this product.
    pub product_id: Option<ProductId>,
    /// Only lines of these companies.
    pub company_ids: Option<Vec<CompanyId>>,
    /// Only lines with one of these ids.
    pub ids: Option<Vec<BillingLineId>>,
    /// The company's name or external id, or its ConnectWise company's identifier, contains this text, ignoring case.
    pub search: Option<String>,
    /// Only lines whose agreement mapping has one of these statuses, if there are any.
    pub agreement_status: Vec<MappingStatus>,
    /// By the source of the agreement mapping: manual or rule.
    pub agreement_source: Option<MappingSource>,
    /// Only lines whose addition mapping has one of these statuses, if there are any.
    pub addition_status: Vec<MappingStatus>,
    /// By the source of the addition mapping: manual or rule.
    pub addition_source: Option<MappingSource>,
    /// `true` for enabled lines only, `false` for the others only.
    pub push_enabled: Option<bool>,
    /// Only lines whose last push ended in one of these states, if there are any.
    pub last_push_state: Vec<PushLineState>,
    /// `true` for lines that need attention only, `false` for the others only. A line needs attention if a mapping is
    /// not resolved, or if the last push was held, failed or unverified.
    pub needs_attention: Option<bool>,
    /// Only lines that need one of these actions from a person, if there are any.
    pub need: Vec<LineNeed>,
    /// `true` for lines of matched companies only, `false` for the others only.
    pub matched: Option<bool>,
}

impl LineFilter {
    /// Whether the filter depends on data of the company.
    pub(in crate::db) fn depends_on_company(&self) -> bool {
        self.search.is_some() || self.matched.is_some()
    }

    /// Whether the filter depends on the company alone.
    pub(in crate::db) fn selects_whole_companies(&self) -> bool {
        let of_companies = Self {
            search: self.search.clone(),
            matched: self.matched,
            company_ids: self.company_ids.clone(),
            ..Self::default()
        };
        *self == of_companies
    }
}

/// Applies a filter to a boxed query over lines joined with their companies.
macro_rules! filtered {
    ($tx:expr, $query:expr, $filter:expr) => {{
        let query = $crate::db::queries::line_filter::of_companies!($tx, $query, $filter);
        $crate::db::queries::line_filter::of_lines!(query, $filter)
    }};
}
pub(in crate::db) use filtered;

/// Applies the part of a filter that concerns the lines themselves to a boxed query over lines.
macro_rules! of_lines {
    ($query:expr, $filter:expr) => {{
        use $crate::db::engine::in_list::InListMethod as _;
        let (mut query, filter): (_, &LineFilter) = ($query, $filter);
        if let Some(id) = &filter.product_id {
            query = query.filter(billing_lines::product_id.eq(id.clone()));
        }
        if let Some(ids) = &filter.company_ids {
            query = query.filter(billing_lines::company_id.in_list(ids));
        }
        if let Some(ids) = &filter.ids {
            query = query.filter(billing_lines::id.in_list(ids));
        }
        if !filter.agreement_status.is_empty() {
            query = query.filter(billing_lines::agreement_status.in_list(&filter.agreement_status));
        }
        if let Some(source) = filter.agreement_source {
            query = query.filter(billing_lines::agreement_source.eq(source));
        }
        if !filter.addition_status.is_empty() {
            query = query.filter(billing_lines::addition_status.in_list(&filter.addition_status));
        }
        if let Some(source) = filter.addition_source {
            query = query.filter(billing_lines::addition_source.eq(source));
        }
        if let Some(enabled) = filter.push_enabled {
            query = query.filter(billing_lines::push_enabled.eq(enabled));
        }
        if !filter.last_push_state.is_empty() {
            query = query.filter(billing_lines::last_push_state.in_list(&filter.last_push_state));
        }
        match filter.needs_attention {
            Some(true) => query = query.filter($crate::db::queries::line_filter::needs_attention!()),
            Some(false) => query = query.filter(diesel::dsl::not($crate::db::queries::line_filter::needs_attention!())),
            None => {}
        }
        if !filter.need.is_empty() {
            query = query.filter($crate::db::queries::line_filter::has_need!(filter.need));
        }
        query
    }};
}
pub(in crate::db) use of_lines;

/// Whether a line needs attention. A line without a last push is judged by its mappings alone.
macro_rules! needs_attention {
    () => {{
        use $crate::db::engine::in_list::InListMethod as _;
        billing_lines::agreement_status
            .ne($crate::domain::mapping_status::MappingStatus::Resolved)
            .or(billing_lines::addition_status.ne($crate::domain::mapping_status::MappingStatus::Resolved))
            .or(billing_lines::last_push_state
                .assume_not_null()
                .in_list($crate::domain::push::PushLineState::NEEDS_ATTENTION)
                .and(billing_lines::last_push_state.is_not_null()))
    }};
}
pub(in crate::db) use needs_attention;

/// Whether a line has one of these needs, as [`LineNeed::of`] decides.
macro_rules! has_need {
    ($needs:expr) => {{
        use $crate::db::engine::in_list::InListMethod as _;
        use $crate::domain::line_need::LineNeed;
        use $crate::domain::mapping_status::{MappingReason, MappingStatus};
        use $crate::domain::push::PushLineState;
        let wants = |need: LineNeed| diesel::IntoSql::into_sql::<diesel::sql_types::Bool>($needs.contains(&need));
        let states = |need, states: &[PushLineState]| if $needs.contains(&need) { states.to_vec() } else { Vec::new() };
        let failures = states(LineNeed::Failure, &[PushLineState::Failed, PushLineState::Unverified]);
        let states = [states(LineNeed::Approval, &[PushLineState::Held]), failures].concat();
        let unmatched = || {
            billing_lines::agreement_reason
                .assume_not_null()
                .in_list(MappingReason::UNMATCHED)
                .and(billing_lines::agreement_reason.is_not_null())
        };
        let agreement = || billing_lines::agreement_status.eq(MappingStatus::Resolved);
        let addition = || billing_lines::addition_status.eq(MappingStatus::Resolved);
        let last_push = billing_lines::last_push_state.assume_not_null().in_list(states);
        let needs_company = unmatched().and(wants(LineNeed::Company));
        let needs_agreement = diesel::dsl::not(unmatched()).and(wants(LineNeed::Agreement));
        let needs_addition = diesel::dsl::not(addition()).and(wants(LineNeed::Addition));
        let needs_answer = addition().and(billing_lines::last_push_state.is_not_null()).and(last_push);
        diesel::dsl::not(agreement())
            .and(needs_company.or(needs_agreement))
            .or(agreement().and(needs_addition.or(needs_answer)))
    }};
}
pub(in crate::db) use has_need;

/// Applies the part of a filter that concerns companies to a boxed query over companies.
macro_rules! of_companies {
    ($tx:expr, $query:expr, $filter:expr) => {{
        let (mut query, filter): (_, &LineFilter) = ($query, $filter);
        if let Some(text) = &filter.search {
            query = query.filter($crate::db::queries::companies::named_like!($tx, text));
        }
        match filter.matched {
            Some(true) => query = query.filter(companies::connectwise_company_id.is_not_null()),
            Some(false) => query = query.filter(companies::connectwise_company_id.is_null()),
            None => {}
        }
        query
    }};
}
pub(in crate::db) use of_companies;
