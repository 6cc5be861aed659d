//! `/push-schedule`: the schedule of the monthly push.

use actix_web::{get, put, web};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::{Validate, ValidationError};

use crate::domain::calendar::{BillingCalendar, BillingMonth};
use crate::domain::schedule::MonthlySchedule;
use crate::domain::{Error, Result};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::headers::IfMatchHeader;
use crate::http::kit::extract::json::{ValidatedJson, optional_whole_number, whole_number};
use crate::http::kit::extract::query::StrictQuery;
use crate::http::kit::params::IfMatchParam;
use crate::http::kit::problem::{ApiResult, Errors, WriteErrors};
use crate::http::kit::response::{ok, with_etag};
use crate::services::AppContext;
use crate::services::schedule::ScheduleView;
use crate::services::schedule::{self, NewSchedule};

/// The schedule of the monthly push.
#[derive(Debug, Serialize, ToSchema)]
pub struct PushSchedule {
    /// Whether the schedule starts a push each month.
    pub enabled: bool,
    /// The day of the month, from 1 to 31. In a shorter month it means the last day.
    pub day_of_month: u32,
    /// The local time of day in the time zone, as `HH:MM`.
    pub time: String,
    /// The IANA time zone that was set last, such as `Europe/Berlin`. A change takes effect with the next month; until
    /// then `current_month` has the time zone in effect.
    pub time_zone: String,
    /// How many days before its next invoice each agreement is pushed; null if all are pushed on `day_of_month`.
    #[schema(required)]
    pub days_before_invoice: Option<u32>,
    /// The bounds of the current billing month.
    pub current_month: MonthBounds,
    /// The bounds of the next month.
    pub next_month: MonthBounds,
    /// The times of the next five runs, in order. They only happen while the schedule is enabled.
    pub next_runs: Vec<DateTime<Utc>>,
    /// The next five runs before invoices within 62 days, in order; empty unless `days_before_invoice` is set.
    pub next_invoice_runs: Vec<RunBeforeInvoice>,
    /// The version; it increases with every change, and is 0 until a schedule is set. Equals the `ETag`, for
    /// `If-Match`.
    pub version: i64,
}

/// A run before invoices.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunBeforeInvoice {
    /// When the agreements are pushed.
    pub at: DateTime<Utc>,
    /// The date of their next invoice.
    pub invoice_on: NaiveDate,
    /// The number of agreements that billing lines bill to; child agreements are not counted.
    pub agreements: usize,
}

/// The bounds of a billing month.
#[derive(Debug, Serialize, ToSchema)]
pub struct MonthBounds {
    /// The month, such as `2026-11`.
    pub billing_month: BillingMonth,
    /// The first moment of the month.
    pub starts_at: DateTime<Utc>,
    /// The first moment after the month.
    pub ends_at: DateTime<Utc>,
    /// The IANA time zone in which the month is counted.
    pub time_zone: String,
}

impl MonthBounds {
    fn new(month: BillingMonth, calendar: &BillingCalendar) -> Self {
        let (starts_at, ends_at) = calendar.bounds(month);
        Self { billing_month: month, starts_at, ends_at, time_zone: calendar.zone_of(month).name().to_owned() }
    }
}

impl From<ScheduleView> for PushSchedule {
    fn from(view: ScheduleView) -> Self {
        let ScheduleView { schedule, current_month, next_runs, next_invoice_runs } = view;
        let run = |(at, invoice_on, agreements)| RunBeforeInvoice { at, invoice_on, agreements };
        let calendar = &schedule.calendar;
        Self {
            current_month: MonthBounds::new(current_month, calendar),
            next_month: MonthBounds::new(current_month.next(), calendar),
            enabled: schedule.enabled,
            day_of_month: schedule.monthly.day_of_month,
            time: schedule.monthly.time.format("%H:%M").to_string(),
            time_zone: schedule.zone.name().to_owned(),
            days_before_invoice: schedule.days_before_invoice,
            next_runs,
            next_invoice_runs: next_invoice_runs.into_iter().map(run).collect(),
            version: schedule.version,
        }
    }
}

/// The new content of the push schedule.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"enabled": true, "day_of_month": 28, "time": "02:00", "time_zone": "America/New_York"}))]
pub struct PushScheduleRequest {
    /// Whether the schedule starts a push each month.
    pub enabled: bool,
    /// The day of the month, from 1 to 31. In a shorter month it means the last day.
    #[serde(deserialize_with = "whole_number")]
    #[validate(range(min = 1, max = 31))]
    #[schema(minimum = 1, maximum = 31)]
    pub day_of_month: u32,
    /// The local time of day in the time zone, as `HH:MM`. A time that the clocks skip means the first moment after the
    /// gap; a time that occurs twice means the first of the two.
    #[validate(custom(function = check_time))]
    #[schema(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    pub time: String,
    /// The IANA time zone, such as `Europe/Berlin`. A change takes effect with the next month, or at once if there are
    /// no usage records and no pushes yet.
    #[validate(custom(function = check_zone))]
    #[schema(min_length = 1, max_length = 100)]
    pub time_zone: String,
    /// How many days before its next invoice each agreement is pushed, once for each invoice; a child agreement is
    /// pushed with its parent. On `day_of_month`, agreements whose next invoice is unknown or overdue are pushed, and
    /// lines without an agreement are reported as skipped. Null means that all are pushed on `day_of_month`.
    #[serde(default, deserialize_with = "optional_whole_number")]
    #[validate(range(max = 27))]
    #[schema(minimum = 0, maximum = 27)]
    pub days_before_invoice: Option<u32>,
}

/// Whether to save the schedule.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ScheduleQuery {
    /// Whether to only return the schedule as it would be, with its next runs, without saving it.
    #[serde(default)]
    #[param(default = false, required = false)]
    pub dry_run: bool,
}

fn time_of_day(text: &str) -> Option<NaiveTime> {
    let plain = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    NaiveTime::parse_from_str(text, "%H:%M").ok().filter(|_| plain)
}

fn check_time(text: &str) -> Result<(), ValidationError> {
    let invalid = || ValidationError::new("time").with_message("must be HH:MM, such as \"02:00\"".into());
    time_of_day(text).map(drop).ok_or_else(invalid)
}

fn check_zone(text: &str) -> Result<(), ValidationError> {
    let message = "must be an IANA time zone, such as \"America/New_York\"";
    let invalid = |_| ValidationError::new("zone").with_message(message.into());
    text.parse::<Tz>().map(drop).map_err(invalid)
}

impl PushScheduleRequest {
    /// The validated schedule.
    fn read(&self) -> Result<NewSchedule, Error> {
        let time = time_of_day(&self.time).ok_or_else(|| Error::internal("a time that was not validated"))?;
        let monthly = MonthlySchedule { day_of_month: self.day_of_month, time };
        let zone = self.time_zone.parse().map_err(Error::internal)?;
        Ok(NewSchedule { enabled: self.enabled, monthly, days_before_invoice: self.days_before_invoice, zone })
    }
}

/// Get the push schedule
///
/// Returns the schedule, the bounds of the current and the next billing month, and the next five runs. Until a schedule
/// is set, it is disabled, with the first of the month at 02:00 UTC.
#[utoipa::path(
    tag = "push schedule",
    responses((status = 200, description = "The schedule, with its billing months and next runs", body = PushSchedule), Errors)
)]
#[get("/push-schedule")]
pub async fn get_push_schedule(ctx: web::Data<AppContext>, caller: Caller) -> ApiResult {
    let found = PushSchedule::from(schedule::show(&ctx, &caller).await?);
    Ok(with_etag(found.version, &found))
}

/// Set the push schedule
///
/// Sets when every enabled billing line is pushed, once a month; each product's `billing_period` decides which month is
/// billed. If this month's run has happened, or its time has passed, the first run is next month. A run missed during
/// an outage is started late, by default up to 7 days. Setting the same content again changes nothing. With `dry_run`,
/// returns the next runs for this content without saving it.
#[utoipa::path(
    tag = "push schedule", request_body = PushScheduleRequest, params(ScheduleQuery, IfMatchParam),
    responses((status = 200, description = "The schedule, with its billing months and next runs", body = PushSchedule), Errors, WriteErrors)
)]
#[put("/push-schedule")]
pub async fn put_push_schedule(
    ctx: web::Data<AppContext>,
    caller: Caller,
    if_match: IfMatchHeader,
    query: StrictQuery<ScheduleQuery>,
    body: ValidatedJson<PushScheduleRequest>,
) -> ApiResult {
    let new = body.value.read()?;
    if query.0.dry_run {
        let preview = schedule::preview(&ctx, &caller, new, if_match.0).await?;
        return Ok(ok(&PushSchedule::from(preview)));
    }
    let saved = PushSchedule::from(schedule::put(&ctx, &caller, new, if_match.0).await?);
    Ok(with_etag(saved.version, &saved))
}
