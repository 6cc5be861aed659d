//! How domain values are stored: as text or integers, exactly, on both databases.

use std::io::Write;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, Queryable};
use diesel::expression::AsExpression;
use diesel::internal::derives::as_expression::Bound;
use diesel::pg::Pg;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{BigInt, Nullable, SingleValue, Text};
use diesel::sqlite::Sqlite;

use super::conn::MultiBackend;
use crate::domain::audit::AuditAction;
use crate::domain::calendar::BillingMonth;
use crate::domain::company_match::MatchSource;
use crate::domain::exact_sum::ExactSum;
use crate::domain::ids::{
    ApiKeyId, AuditId, BillingLineId, CompanyId, CwAdditionId, CwAgreementId, CwCompanyId, DeliveryId, LineChangeId,
    MessageId, ProductId, PushBeforeInvoiceId, PushJobId, PushLineId, RuleId, SnapshotId, TenantId, UsageId, WebhookId,
};
use crate::domain::invoice_terms::{BillCustomer, RecapPath};
use crate::domain::invoices::WhenInvoiced;
use crate::domain::line_quantity::Adjustment;
use crate::domain::mapping_status::{MappingReason, MappingSource, MappingStatus};
use crate::domain::mappings::LineField;
use crate::domain::push::{JobState, PushLineState, PushReason};
use crate::domain::push::{PushKind, PushTrigger};
use crate::domain::push_counts::FinalCounts;
use crate::domain::quantity::Rounding;
use crate::domain::quantity::{Amount, BlockSize, IncludedQuantity, MinimumQuantity, Money, Quantity};
use crate::domain::rules::Target;
use crate::domain::usage::{Aggregation, BillingPeriod};
use crate::domain::webhooks::{DeliveryState, DisabledReason, EventType, EventTypes};

/// The diesel traits that every stored type needs.
macro_rules! stored {
    ($sql:ty: $($name:ty),+ $(,)?) => { $(
        impl AsExpression<$sql> for $name {
            type Expression = Bound<$sql, Self>;
            fn as_expression(self) -> Self::Expression { Bound::new(self) }
        }
        impl<'a> AsExpression<$sql> for &'a $name {
            type Expression = Bound<$sql, Self>;
            fn as_expression(self) -> Self::Expression { Bound::new(self) }
        }
        impl AsExpression<Nullable<$sql>> for $name {
            type Expression = Bound<Nullable<$sql>, Self>;
            fn as_expression(self) -> Self::Expression { Bound::new(self) }
        }
        impl<'a> AsExpression<Nullable<$sql>> for &'a $name {
            type Expression = Bound<Nullable<$sql>, Self>;
            fn as_expression(self) -> Self::Expression { Bound::new(self) }
        }
        impl<DB: Backend> ToSql<Nullable<$sql>, DB> for $name where $name: ToSql<$sql, DB> {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
                ToSql::<$sql, DB>::to_sql(self, out)
            }
        }
        impl<DB: Backend, ST: SingleValue> Queryable<ST, DB> for $name where $name: FromSql<ST, DB> {
            type Row = Self;
            fn build(row: Self) -> deserialize::Result<Self> { Ok(row) }
        }
    )+ };
}

/// Types stored as text, in the form that they print and parse.
macro_rules! stored_as_text {
    ($($name:ty),+ $(,)?) => {
        stored!(Text: $($name),+);
        $(
            impl ToSql<Text, Pg> for $name {
                fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
                    write!(out, "{self}")?;
                    Ok(IsNull::No)
                }
            }
            impl ToSql<Text, Sqlite> for $name {
                fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
                    out.set_value(self.to_string());
                    Ok(IsNull::No)
                }
            }
            impl ToSql<Text, MultiBackend> for $name {
                fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, MultiBackend>) -> serialize::Result {
                    out.set_value((Text, self));
                    Ok(IsNull::No)
                }
            }
        )+
    };
}

/// Enums and numbers. A stored value that cannot be parsed is an error.
macro_rules! parsed {
    ($($name:ty),+ $(,)?) => { $(
        impl<DB: Backend> FromSql<Text, DB> for $name where String: FromSql<Text, DB> {
            fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
                String::from_sql(bytes)?.parse().map_err(Into::into)
            }
        }
    )+ };
}

/// Our own ids: any text is valid.
macro_rules! opaque {
    ($($name:ty),+ $(,)?) => { $(
        impl<DB: Backend> FromSql<Text, DB> for $name where String: FromSql<Text, DB> {
            fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
                String::from_sql(bytes).map(Self::from)
            }
        }
    )+ };
}

macro_rules! stored_as_integer {
    ($($name:ident),+ $(,)?) => {
        stored!(BigInt: $($name),+);
        $(
            impl<DB: Backend> ToSql<BigInt, DB> for $name where i64: ToSql<BigInt, DB> {
                fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
                    self.0.to_sql(out)
                }
            }
            impl<DB: Backend> FromSql<BigInt, DB> for $name where i64: FromSql<BigInt, DB> {
                fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
                    i64::from_sql(bytes).map($name)
                }
            }
        )+
    };
}

/// Implements storing and loading for types stored as text, so that each type is listed once.
macro_rules! texts {
    ($how:ident: $($name:ty),+ $(,)?) => {
        stored_as_text!($($name),+);
        $how!($($name),+);
    };
}

texts!(opaque: TenantId, ApiKeyId, AuditId, CompanyId, ProductId, RuleId, BillingLineId, UsageId, PushJobId, PushLineId, LineChangeId, WebhookId, DeliveryId, MessageId, SnapshotId, PushBeforeInvoiceId);
texts!(
    parsed: FinalCounts, Rounding, Aggregation, BillingPeriod, Target, MappingSource, MappingStatus, MappingReason, MatchSource, PushKind,
    PushTrigger, JobState, PushLineState, PushReason, Amount, ExactSum, BlockSize, Quantity, BillingMonth, LineField, AuditAction,
    BillCustomer, RecapPath, WhenInvoiced, Money, Adjustment, MinimumQuantity, IncludedQuantity, EventType, EventTypes, DisabledReason, DeliveryState,
);
stored_as_integer!(CwCompanyId, CwAgreementId, CwAdditionId);
