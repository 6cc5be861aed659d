//! Newtypes for identities. Ours are UUIDv7 as text; ConnectWise's are its integers.

use serde::{Deserialize, Serialize};

/// Defines an id of ours: opaque text outside, UUIDv7 inside.
macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// A new id, later than every id this process made before.
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

/// Ids later than one that is known, each later than the one before, whatever this machine's clock says: it may be behind
/// that of the machine which made the known one.
#[derive(Debug)]
pub struct MonotonicIds {
    context: uuid::ContextV7,
    /// Milliseconds since 1970.
    from: u64,
}

impl MonotonicIds {
    /// Later than an id, where there is one.
    pub fn after(known: Option<&str>) -> Self {
        let millis = |time: uuid::Timestamp| {
            let (seconds, nanos) = time.to_unix();
            seconds * 1_000 + u64::from(nanos / 1_000_000)
        };
        let known = known.and_then(|id| uuid::Uuid::parse_str(id).ok()).and_then(|id| id.get_timestamp()).map(millis);
        let now = millis(uuid::Timestamp::now(uuid::NoContext));
        Self { context: uuid::ContextV7::new(), from: known.map_or(now, |known| now.max(known + 1)) }
    }

    /// The next id, as text.
    pub fn next_id(&self) -> String {
        let nanos = u32::try_from(self.from % 1_000).unwrap_or_default() * 1_000_000;
        uuid::Uuid::new_v7(uuid::Timestamp::from_unix(&self.context, self.from / 1_000, nanos)).to_string()
    }
}

ids! {
    /// One MSP.
    TenantId,
    /// An API key (not the key itself).
    ApiKeyId,
    /// A vendor's customer.
    CompanyId,
    /// Something the vendor bills.
    ProductId,
    /// A matching rule of a product.
    RuleId,
    /// Company x product.
    BillingLineId,
    /// One change of a billing line.
    LineChangeId,
    /// One measured amount.
    UsageId,
    /// One run that writes quantities.
    PushJobId,
    /// A billing line's part in a push job.
    PushLineId,
}

/// Defines an id given by ConnectWise: an integer there, opaque text in our JSON.
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

/// A text that cannot be an id of ConnectWise's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a ConnectWise id is a positive whole number, written as text, such as \"250\"")]
pub struct NotConnectWiseId;

connectwise_ids! {
    /// A company in ConnectWise.
    CwCompanyId,
    /// An agreement in ConnectWise.
    CwAgreementId,
    /// An addition (agreement line item) in ConnectWise.
    CwAdditionId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_ours_grow() {
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
