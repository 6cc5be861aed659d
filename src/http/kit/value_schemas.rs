//! How the domain's values look in the OpenAPI document.

use std::borrow::Cow;

use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::calendar::BillingMonth;
use crate::domain::company_match::MatchSource;
use crate::domain::company_match::{MatchOutcome, MatchedBy};
use crate::domain::mapping::{LineField, Verdict};
use crate::domain::mapping_status::{MappingReason, MappingSource, MappingStatus};
use crate::domain::push::{JobState, LineState, PushReason};
use crate::domain::push::{PushKind, PushTrigger};
use crate::domain::quantity::Rounding;
use crate::domain::quantity::{Amount, BlockSize, Quantity};
use crate::domain::rules::Attribute;
use crate::domain::rules::Target;
use crate::domain::usage::{Aggregation, BillingPeriod};
use crate::services::mapping::edit::BulkMode;

macro_rules! enumerations {
    ($($name:ident: $description:literal),+ $(,)?) => { $(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(SchemaType::Type(Type::String))
                    .description(Some($description))
                    .enum_values(Some($name::ALL.iter().map(|word| word.as_str())))
                    .into()
            }
        }
        impl ToSchema for $name {
            fn name() -> Cow<'static, str> { stringify!($name).into() }
        }
    )+ };
}

enumerations! {
    Rounding: "How usage in blocks becomes a quantity",
    Aggregation: "How a month's usage records become one amount",
    BillingPeriod: "Which month a push bills: the one that holds the moment of the push, or the one that closed before it",
    Target: "What a matching rule picks",
    MappingSource: "Who decided a mapping",
    MappingStatus: "What a mapping came to",
    MappingReason: "Why a mapping is what it is",
    MatchSource: "How a company came to its ConnectWise company",
    PushKind: "What a push job does",
    PushTrigger: "What started a push job",
    JobState: "Where a push job stands",
    LineState: "Where a push line stands",
    PushReason: "Why a push line was skipped, held, failed or left unverified",
    MatchedBy: "By what a match was found",
    BulkMode: "What happens to the other edits of a request where one cannot be done",
    LineField: "What of a billing line changed",
    Verdict: "Why a candidate was taken, or was not",
    Attribute: "A member of an agreement or addition that rules may ask about",
    MatchOutcome: "What auto-match made of a company",
}

macro_rules! patterned {
    ($($name:ident: $pattern:literal, $example:literal, $description:literal;)+) => { $(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(SchemaType::Type(Type::String))
                    .description(Some($description))
                    .pattern(Some($pattern))
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
    Amount: r"^[0-9]{1,28}(\.[0-9]{1,28})?$", "250.5", "An exact decimal, 0 or more, as text";
    BlockSize: r"^[0-9]{1,28}(\.[0-9]{1,28})?$", "100", "An exact decimal greater than 0, as text";
    Quantity: r"^-?[0-9]{1,28}(\.[0-9]{1,28})?$", "3", "An exact decimal, as text";
    BillingMonth: r"^2[01][0-9]{2}-(0[1-9]|1[0-2])$", "2026-11", "A calendar month";
}
