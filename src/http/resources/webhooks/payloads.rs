//! The bodies of deliveries, for the document. `services/webhooks/events.rs` builds them; a test compares the two.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use utoipa::ToSchema;

use crate::domain::calendar::BillingMonth;
use crate::domain::mapping_status::MappingReason;
use crate::domain::push::{JobState, PushKind, PushLineState, PushReason, PushTrigger};
use crate::domain::quantity::Quantity;
use crate::domain::rules::Target;
use crate::domain::webhooks::EventType;

/// Defines the body of an event.
macro_rules! payload {
    ($(#[doc = $doc:literal])+ $name:ident, $data:ty) => {
        $(#[doc = $doc])+
        #[derive(ToSchema)]
        #[expect(dead_code, reason = "read by the derive, for the document alone")]
        pub struct $name {
            /// What happened.
            r#type: EventType,
            /// When it happened.
            timestamp: DateTime<Utc>,
            /// What it concerns.
            data: $data,
        }
    };
}

payload!(
    /// The body of `push_job.finished`.
    PushJobFinishedPayload,
    PushJobFinished
);
payload!(
    /// The body of `push_line.held` and `push_line.failed`.
    PushLinesPayload,
    PushLinesInEvent
);
payload!(
    /// The body of `mapping.stale` and `mapping.ambiguous`.
    MappingsPayload,
    MappingsInEvent
);
payload!(
    /// The body of `usage.missing`.
    UsageMissingPayload,
    UsageMissing
);
payload!(
    /// The body of `connection.failing`.
    ConnectionFailingPayload,
    ConnectionFailing
);
payload!(
    /// The body of `webhook.test`.
    TestPayload,
    TestOfWebhook
);

/// A push job that ended.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub struct PushJobFinished {
    /// The push job.
    push_job_id: String,
    /// Whether quantities were written.
    kind: PushKind,
    /// How it ended.
    state: JobState,
    /// Why it failed; null if it did not.
    #[schema(required)]
    detail: Option<String>,
    /// What started it.
    trigger: PushTrigger,
    /// Who started it: the name of an API key, with the person behind it if the request named one; or `schedule`.
    requested_by: String,
    /// The product that it is limited to; null if it has lines of several products.
    #[schema(required)]
    product_id: Option<String>,
    /// The billing month.
    billing_month: BillingMonth,
    /// The number of lines in each state. A state without lines is left out.
    lines: BTreeMap<PushLineState, i64>,
    /// When it ended.
    finished_at: DateTime<Utc>,
}

/// Push lines that need attention.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub struct PushLinesInEvent {
    /// The lines' push job.
    push_job_id: String,
    /// The lines.
    #[schema(min_items = 1, max_items = 100)]
    lines: Vec<PushLineInEvent>,
}

/// A push line that needs attention.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub struct PushLineInEvent {
    /// The push line.
    push_line_id: String,
    /// Its billing line.
    billing_line_id: String,
    /// The line's company.
    company_id: String,
    /// The company's name.
    company_name: String,
    /// The line's product.
    product_id: String,
    /// The product's code.
    product_code: String,
    /// The state: `held`, `failed` or `unverified`.
    state: PushLineState,
    /// The reason, for programs; null if there is only a detail.
    #[schema(required)]
    reason: Option<PushReason>,
    /// The reason, for people.
    #[schema(required)]
    detail: Option<String>,
    /// The quantity in ConnectWise; null if it is unknown.
    #[schema(required)]
    from: Option<Quantity>,
    /// The quantity to write; null if there is none.
    #[schema(required)]
    to: Option<Quantity>,
}

/// Billing lines that need a choice.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub struct MappingsInEvent {
    /// The lines.
    #[schema(min_items = 1, max_items = 100)]
    lines: Vec<MappingInEvent>,
}

/// A billing line that needs a choice.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub struct MappingInEvent {
    /// The billing line.
    billing_line_id: String,
    /// The line's company.
    company_id: String,
    /// The company's name.
    company_name: String,
    /// The line's product.
    product_id: String,
    /// The mapping that needs the choice.
    target: Target,
    /// The reason, for programs.
    #[schema(required)]
    reason: Option<MappingReason>,
}

/// Billing lines whose usage stopped.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub struct UsageMissing {
    /// The billing lines.
    #[schema(min_items = 1, max_items = 100)]
    lines: Vec<MissingUsage>,
}

/// A billing line whose usage stopped.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub struct MissingUsage {
    /// The billing line.
    billing_line_id: String,
    /// The line's company.
    company_id: String,
    /// The company's name.
    company_name: String,
    /// The line's product.
    product_id: String,
    /// The product's code.
    product_code: String,
    /// When its newest usage was measured.
    last_measured_at: DateTime<Utc>,
}

/// A failing connection.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub struct ConnectionFailing {
    /// The push job that found the failure. Its lines wait until the connection works.
    push_job_id: String,
    /// What failed, and what to do, for people.
    cause: String,
}

/// A test.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub struct TestOfWebhook {
    /// The webhook that is tested.
    webhook_id: String,
}
