//! `/audit-log`: who changed what, when.

use actix_web::{get, web};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::db::{self, AuditFilter, AuditSort, ListName, PageRequest};
use crate::domain::audit::AuditAction;
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::csv_writer::{TablePage, stream_table};
use crate::http::kit::extract::formula::escape_formula;
use crate::http::kit::extract::query::{ListFilter, ListQuery, Values};
use crate::http::kit::extract::table_query::TableQuery;
use crate::http::kit::list::{List, comparable};
use crate::http::kit::problem::{ApiResult, Errors};
use crate::http::kit::response::page_of;
use crate::services::AppContext;

/// An entry of the audit log. It is written in the same transaction as the change, and never modified.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEntry {
    /// The entry's id.
    pub id: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// Who did it: the name of an API key, or `schedule` for a scheduled push.
    pub actor: String,
    /// The person for whom the actor acted, from the request's `X-Acting-User`; null if the header was missing. The
    /// service cannot verify it and relies on the owner of the key.
    #[schema(required)]
    pub acting_user: Option<String>,
    /// The id of the API key; null if no key was involved.
    #[schema(required)]
    pub api_key_id: Option<String>,
    /// The id of the request, as in `X-Request-Id`; null if there was no request.
    #[schema(required)]
    pub request_id: Option<String>,
    /// What was done.
    pub action: AuditAction,
    /// The id of the record that was changed; null if the action concerns no single record.
    #[schema(required)]
    pub subject_id: Option<String>,
    /// The name of the record at that time, for people; null if it has none.
    #[schema(required)]
    pub subject_name: Option<String>,
    /// The changed members with their values before the change; null if there was nothing before.
    #[schema(required, value_type = Option<Object>)]
    pub old: Option<Map<String, Value>>,
    /// The changed members with their values after the change; null if there is nothing after.
    #[schema(required, value_type = Option<Object>)]
    pub new: Option<Map<String, Value>>,
}

impl From<db::AuditEntry> for AuditEntry {
    fn from(row: db::AuditEntry) -> Self {
        let object = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
        Self {
            id: row.id.to_string(),
            at: row.at.and_utc(),
            actor: row.actor,
            acting_user: row.acting_user,
            api_key_id: row.api_key_id.map(|id| id.to_string()),
            request_id: row.request_id,
            action: row.action,
            subject_id: row.subject_id,
            subject_name: row.subject_name,
            old: object(row.old),
            new: object(row.new),
        }
    }
}

/// The filter of the audit log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only entries with this action, or one of these, separated by commas.
    #[serde(default)]
    #[param(style = Form, explode = false, required = false, min_items = 1, value_type = Vec<AuditAction>)]
    pub action: Values<AuditAction>,
    /// Only entries of this actor: the name of an API key, or `schedule`.
    #[param(max_length = 300)]
    pub actor: Option<String>,
    /// Only entries for this person, as named in `X-Acting-User`.
    #[param(max_length = 300)]
    pub acting_user: Option<String>,
    /// Only entries about the record with this id.
    #[param(max_length = 300)]
    pub subject_id: Option<String>,
    /// Only entries of the request with this id.
    #[param(max_length = 300)]
    pub request_id: Option<String>,
    /// Only entries at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Only entries before this time.
    pub to: Option<DateTime<Utc>>,
}

impl AuditQuery {
    fn filter(self) -> AuditFilter {
        AuditFilter {
            actions: self.action.0,
            actor: self.actor,
            acting_user: self.acting_user,
            subject_id: self.subject_id,
            request_id: self.request_id,
            from: self.from.map(comparable),
            to: self.to.map(comparable),
        }
    }
}

impl ListFilter for AuditQuery {
    type Sort = AuditSort;
    const DEFAULT_SORT: &'static str = "-at";
}

/// List the audit log
///
/// Returns one page of the entries, newest first by default: every change of a setting, choice, push, approval, revert
/// and key, with who made it and the previous values. Entries are never changed or deleted.
#[utoipa::path(tag = "audit log", params(ListQuery<AuditQuery>), responses((status = 200, description = "A page of entries", body = List<AuditEntry>), Errors))]
#[get("/audit-log")]
pub async fn list_audit_log(ctx: web::Data<AppContext>, caller: Caller, query: ListQuery<AuditQuery>) -> ApiResult {
    let (query, page) = query.for_list("audit-log")?;
    let filter = query.filter();
    let rows = ctx.db.read(&caller.tenant, move |tx| tx.audit(&filter, &page)).await?;
    Ok(page_of(&List::from_page(rows, AuditEntry::from)))
}

const HEADER: [&str; 10] =
    ["at", "actor", "acting_user", "api_key_id", "request_id", "action", "subject_id", "subject_name", "old", "new"];

/// Export the audit log
///
/// Returns the entries that match the filters as CSV, oldest first. Text that looks like a formula gets an apostrophe.
#[utoipa::path(
    tag = "import and export",
    params(TableQuery<AuditQuery>),
    responses((status = 200, body = String, content_type = "text/csv", description = "The table of entries"), Errors)
)]
#[get("/export/audit-log")]
pub async fn export_audit_log(ctx: web::Data<AppContext>, caller: Caller, query: TableQuery<AuditQuery>) -> ApiResult {
    let (ctx, tenant, filter) = (ctx.into_inner(), caller.tenant.clone(), query.filter.filter());
    let page = move |cursor: Option<String>| {
        let (ctx, tenant, filter) = (ctx.clone(), tenant.clone(), filter.clone());
        async move {
            let list = ListName { name: "audit-log", filter: 0 };
            let request = PageRequest::parse(list, Some(500), cursor.as_deref(), "at")?;
            let rows = ctx.db.read(&tenant, move |tx| tx.audit(&filter, &request)).await?;
            let next = rows.next.map(|next| next.encode());
            Ok(TablePage { rows: rows.items.iter().map(|row| cells(row).into()).collect(), next })
        }
    };
    Ok(stream_table("audit-log.csv", &HEADER, query.bom, page).await?)
}

fn cells(row: &db::AuditEntry) -> [String; 10] {
    let text = |value: &Option<String>| escape_formula(value.as_deref().unwrap_or_default());
    [
        row.at.and_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true),
        escape_formula(&row.actor),
        text(&row.acting_user),
        row.api_key_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        text(&row.request_id),
        row.action.to_string(),
        text(&row.subject_id),
        text(&row.subject_name),
        text(&row.old),
        text(&row.new),
    ]
}
