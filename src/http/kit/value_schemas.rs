//! The OpenAPI schemas of the domain's values.

use std::borrow::Cow;

use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::audit::AuditAction;
use crate::domain::calendar::BillingMonth;
use crate::domain::company_match::MatchSource;
use crate::domain::company_match::{MatchCriterion, MatchOutcome};
use crate::domain::invoices::{InvoiceWarning, WhenInvoiced};
use crate::domain::line_need::LineNeed;
use crate::domain::mapping_status::{MappingReason, MappingSource, MappingStatus};
use crate::domain::mappings::{LineField, Verdict};
use crate::domain::push::{JobState, PushLineState, PushReason};
use crate::domain::push::{PushKind, PushTrigger};
use crate::domain::quantity::Rounding;
use crate::domain::quantity::{
    AdjustmentAmount, Amount, BlockSize, IncludedQuantity, MinimumQuantity, Money, Quantity,
};
use crate::domain::reconciliation::ReconciliationKind;
use crate::domain::rules::Attribute;
use crate::domain::rules::Target;
use crate::domain::string_enum::StringEnum;
use crate::domain::usage::{Aggregation, BillingPeriod};
use crate::domain::webhooks::{DeliveryState, DisabledReason, EventType};
use crate::http::kit::document_format::DocumentFormat;
use crate::http::kit::extract::csv::Delimiter;
use crate::services::companies::batch::BatchOutcome;
use crate::services::mappings::line_edit::BulkMode;

macro_rules! enumerations {
    ($($name:ident: $description:literal),+ $(,)?) => { $(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let meanings = $name::ALL.iter().map(|value| format!("\n- `{value}`: {}", value.meaning().trim()));
                ObjectBuilder::new()
                    .schema_type(SchemaType::Type(Type::String))
                    .description(Some(format!("{}:\n{}", $description, meanings.collect::<String>())))
                    .enum_values(Some($name::ALL.iter().map(|value| value.as_str())))
                    .into()
            }
        }
        impl ToSchema for $name {
            fn name() -> Cow<'static, str> { stringify!($name).into() }
        }
    )+ };
}

enumerations! {
    Rounding: "How a number of blocks is rounded to a quantity",
    Aggregation: "How the usage records of a month are combined into the billed amount",
    BillingPeriod: "The month that a push bills: the one in which the push is due, or the one before it",
    Target: "What a matching rule selects",
    MappingSource: "Whether a rule or a manual choice decided a mapping",
    MappingStatus: "The status of a mapping",
    LineNeed: "The first action that a person must take before a billing line can be billed",
    MappingReason: "The reason for a mapping's status",
    MatchSource: "How a company was matched to its ConnectWise company",
    PushKind: "The kind of a push job",
    PushTrigger: "What started a push job",
    JobState: "The state of a push job",
    PushLineState: "The state of a push line",
    PushReason: "Why a push line was skipped, held, failed or left unverified",
    MatchCriterion: "The criterion by which the company matched the ConnectWise company",
    EventType: "What happened",
    DeliveryState: "The state of a delivery",
    DisabledReason: "Why a webhook is disabled",
    WhenInvoiced: "What a push does with a line if the invoice for its month has already been made",
    DocumentFormat: "The form in which a document is returned",
    ReconciliationKind: "How a line, or an addition without a line, compares with ConnectWise",
    InvoiceWarning: "A problem to check before the invoice is made",
    BatchOutcome: "The result of a batch for one company",
    BulkMode: "What happens to the other edits of a request or table if one is rejected",
    Delimiter: "The separator between the columns of a table",
    LineField: "The part of a billing line that changed",
    Verdict: "Why the line bills to this candidate, or why not",
    Attribute: "An attribute of an agreement or addition that rules can compare",
    MatchOutcome: "The result of auto-match for a company",
    AuditAction: "The action that an audit log entry records",
}

macro_rules! patterned {
    ($($name:ident: $pattern:literal, $example:literal, $description:literal;)+) => { $(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(SchemaType::Type(Type::String))
                    .description(Some($description))
                    .pattern(Some($pattern))
                    // 28 digits and a point; a billing month is shorter.
                    .max_length(Some(29))
                    .examples([$example])
                    .into()
            }
        }
        impl ToSchema for $name {
            fn name() -> Cow<'static, str> { stringify!($name).into() }
        }
    )+ };
}

patterned! {
    Amount: r"^[0-9]{1,28}(\.[0-9]{1,28})?$", "250.5",
        "An exact decimal, 0 or more, as a string such as `\"120.5\"`. At most 28 digits";
    BlockSize: r"^(0{0,27}[1-9][0-9]{0,27}(\.[0-9]{1,27})?|0{1,27}\.0{0,26}[1-9][0-9]{0,26})$", "100",
        "An exact decimal greater than 0, as a string such as `\"1.5\"`. At most 28 digits";
    AdjustmentAmount: r"^-?(0{0,27}[1-9][0-9]{0,27}(\.[0-9]{1,27})?|0{1,27}\.0{0,26}[1-9][0-9]{0,26})$", "-2",
        "An exact decimal other than 0, as a string such as `\"-2\"`. At most 28 digits";
    MinimumQuantity: r"^[0-9]{1,10}(\.[0-9]{1,5})?$", "10",
        "An exact decimal, 0 or more, as a string such as `\"10\"`. At most 10 digits before the point, and 5 after it";
    IncludedQuantity: r"^[0-9]{1,10}(\.[0-9]{1,5})?$", "25",
        "An exact decimal, 0 or more, as a string such as `\"25\"`. At most 10 digits before the point, and 5 after it";
    Quantity: r"^-?[0-9]{1,28}(\.[0-9]{1,28})?$", "3",
        "An exact decimal, as a string such as `\"120.5\"`";
    Money: r"^-?[0-9]{1,28}(\.[0-9]{1,28})?$", "28.5",
        "An amount of money in the agreement's currency: an exact decimal, as a string such as `\"28.5\"`";
    BillingMonth: r"^2[01][0-9]{2}-(0[1-9]|1[0-2])$", "2026-11",
        "A billing month: a calendar month in the tenant's time zone, such as `2026-11`";
}
