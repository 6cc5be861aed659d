//! The example ids in the OpenAPI document, and the ids that replace them in a demo.

use std::sync::{Arc, OnceLock};

/// A record whose id is an example in the OpenAPI document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExampleRecord {
    /// A company.
    Company,
    /// A product.
    Product,
    /// A billing line.
    BillingLine,
    /// A matching rule.
    MatchingRule,
    /// A push job.
    PushJob,
    /// A push line that is held.
    PushLine,
    /// An API key.
    ApiKey,
    /// A webhook.
    Webhook,
    /// A delivery to a webhook.
    Delivery,
    /// A company in ConnectWise.
    ConnectWiseCompany,
    /// An agreement in ConnectWise, of the billing line's company.
    Agreement,
    /// An addition in ConnectWise, of the billing line's agreement.
    Addition,
    /// The vendor's id of the company.
    ExternalId,
    /// The identifier of the company's ConnectWise company.
    Identifier,
}

impl ExampleRecord {
    /// The example id in the document.
    pub const fn placeholder(self) -> &'static str {
        match self {
            Self::Product => "0193f0a0-0000-7000-8000-000000000001",
            Self::BillingLine => "0193f0a0-0000-7000-8000-000000000002",
            Self::PushLine => "0193f0a0-0000-7000-8000-000000000003",
            Self::Company => "0193f0a0-0000-7000-8000-000000000004",
            Self::MatchingRule => "0193f0a0-0000-7000-8000-000000000005",
            Self::PushJob => "0193f0a0-0000-7000-8000-000000000006",
            Self::ApiKey => "0193f0a0-0000-7000-8000-000000000007",
            Self::Webhook => "0193f0a0-0000-7000-8000-000000000008",
            Self::Delivery => "0193f0a0-0000-7000-8000-000000000009",
            Self::ConnectWiseCompany => "250",
            Self::Agreement => "1201",
            Self::Addition => "50310",
            Self::ExternalId => "C-1001",
            Self::Identifier => "HarborDental",
        }
    }
}

/// The ids that replace the document's examples in a demo; empty until its records exist.
#[derive(Debug, Clone, Default)]
pub struct ExampleIds(Arc<OnceLock<Vec<(ExampleRecord, String)>>>);

impl ExampleIds {
    /// Sets the ids, once.
    pub fn set(&self, ids: Vec<(ExampleRecord, String)>) {
        // A demo sets them once; a second call would change nothing.
        let _ = self.0.set(ids);
    }

    /// The document with these ids as its examples.
    pub fn apply(&self, document: &str) -> String {
        let ids = self.0.get().into_iter().flatten();
        ids.fold(document.to_owned(), |text, (record, id)| {
            match record {
                // They also occur within tables.
                ExampleRecord::ExternalId | ExampleRecord::Identifier => text.replace(record.placeholder(), id),
                _ => text.replace(&format!("\"{}\"", record.placeholder()), &format!("\"{id}\"")),
            }
        })
    }
}
