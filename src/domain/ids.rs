//! Newtypes for ids. This service's ids are UUIDv7 as text; ConnectWise's ids are integers.

use serde::{Deserialize, Serialize};

/// Defines id types of this service: UUIDv7, which callers treat as opaque text.
macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Creates an id that sorts after every id that this process created before.
            #[expect(clippy::new_without_default, reason = "every call gives another value")]
            pub fn new() -> Self {
                Self(uuid::Uuid::now_v7().to_string())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    )+ };
}

/// Generates ids that sort after a known id and after each other, even if this machine's clock is behind that of the
/// machine that created the known id.
#[derive(Debug)]
pub struct MonotonicIds {
    context: uuid::ContextV7,
    /// The time in the generated ids, in milliseconds since 1970.
    from: u64,
}

impl MonotonicIds {
    /// Starts after the id `known` if it has a timestamp, and not before the current time.
    pub fn after(known: Option<&str>) -> Self {
        let millis = |time: uuid::Timestamp| {
            let (seconds, nanos) = time.to_unix();
            seconds * 1_000 + u64::from(nanos / 1_000_000)
        };
        let known = known.and_then(|id| uuid::Uuid::parse_str(id).ok()).and_then(|id| id.get_timestamp()).map(millis);
        let now = millis(uuid::Timestamp::now(uuid::NoContext));
        Self { context: uuid::ContextV7::new(), from: known.map_or(now, |known| now.max(known + 1)) }
    }

    /// Returns the next id as text.
    pub fn next_id(&self) -> String {
        let nanos = u32::try_from(self.from % 1_000).unwrap_or_default() * 1_000_000;
        uuid::Uuid::new_v7(uuid::Timestamp::from_unix(&self.context, self.from / 1_000, nanos)).to_string()
    }
}

ids! {
    /// The id of a tenant, which is one MSP.
    TenantId,
    /// The id of an API key (not the key itself).
    ApiKeyId,
    /// The id of an entry of the audit log.
    AuditId,
    /// The id of a company, which is a customer of the vendor.
    CompanyId,
    /// The id of a product, which is something the vendor bills.
    ProductId,
    /// The id of a product's matching rule.
    RuleId,
    /// The id of a billing line, which is a company x product.
    BillingLineId,
    /// The id of one change of a billing line.
    LineChangeId,
    /// The id of a usage record, which is one measured amount.
    UsageId,
    /// The id of a push job, which is one run that writes quantities.
    PushJobId,
    /// The id of a push line, which is a billing line's part in a push job.
    PushLineId,
    /// The id of a webhook: a URL that receives events.
    WebhookId,
    /// The id of one event's delivery to one webhook.
    DeliveryId,
    /// The id of an event, the same for all webhooks that receive it.
    MessageId,
    /// The id of a reconciliation's stored totals of a product and currency.
    SnapshotId,
    /// The id of an agreement's push before an invoice.
    PushBeforeInvoiceId,
}

/// Defines id types of ConnectWise: integers there, opaque text in our JSON.
macro_rules! connectwise_ids {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotConnectWiseId;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl std::str::FromStr for $name {
            type Err = NotConnectWiseId;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text.parse::<i64>() {
                    Ok(id) if id > 0 && !text.starts_with('+') => Ok(Self(id)),
                    _ => Err(NotConnectWiseId),
                }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.to_string()
            }
        }
    )+ };
}

/// The error for a text that cannot be a ConnectWise id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a ConnectWise id is a positive whole number, written as text, such as \"250\"")]
pub struct NotConnectWiseId;

connectwise_ids! {
    /// The id of a company in ConnectWise.
    CwCompanyId,
    /// The id of an agreement in ConnectWise.
    CwAgreementId,
    /// The id of an addition (agreement line item) in ConnectWise.
    CwAdditionId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_ids_increase() {
        let (first, second) = (CompanyId::new(), CompanyId::new());
        assert!(first < second);
        assert_eq!(first.as_str().len(), 36);
    }

    #[test]
    fn ids_of_connectwise_are_positive_integers_as_text() {
        assert_eq!("250".parse(), Ok(CwCompanyId(250)));
        for bad in ["", "0", "-1", "+1", "1.0", "abc", "99999999999999999999"] {
            assert_eq!(bad.parse::<CwCompanyId>(), Err(NotConnectWiseId), "{bad}");
        }
    }

    #[test]
    fn later_ids_are_later_whatever_the_clock_says() {
        let plain = PushJobId::new();
        let ahead = uuid::Timestamp::from_unix(uuid::NoContext, 4_000_000_000, 999_000_000);
        let ahead = uuid::Uuid::new_v7(ahead).to_string();
        for known in [plain.as_str(), &ahead] {
            let ids = MonotonicIds::after(Some(known));
            let many: Vec<String> = (0..10_000).map(|_| ids.next_id()).collect();
            assert!(many[0].as_str() > known && many.is_sorted_by(|one, next| one < next), "{known}");
        }
        assert!(MonotonicIds::after(None).next_id() >= plain.to_string());
        assert!(MonotonicIds::after(Some("no id")).next_id() >= plain.to_string());
    }
}
