//! A line, or an addition without a line, compared with ConnectWise.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::calendar::BillingMonth;
use crate::domain::invoices::InvoiceWarning;
use crate::domain::quantity::{Amount, Money, Quantity};
use crate::domain::reconciliation::{ReconciliationKind, WarningImpact};
use crate::domain::string_enum::StringEnum;
use crate::services::reconciliation::NamedItem;

/// A line, or an addition without a line, compared with ConnectWise.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReconciliationItem {
    /// The result of the comparison.
    pub kind: ReconciliationKind,
    /// The kind as a sentence, with what to do.
    pub explanation: String,
    /// The month that is compared.
    pub billing_month: BillingMonth,
    /// The product's id.
    pub product_id: String,
    /// The product's code.
    pub product_code: String,
    /// The billing line's id; null for an addition that no line bills to.
    #[schema(required)]
    pub billing_line_id: Option<String>,
    /// The company's id; null for an addition in a ConnectWise company that no company is matched to.
    #[schema(required)]
    pub company_id: Option<String>,
    /// The vendor's own id for the company; null for an addition in a ConnectWise company that no company is matched
    /// to.
    #[schema(required)]
    pub company_external_id: Option<String>,
    /// The company's name; ConnectWise's name for it if no company is matched to it.
    pub company_name: String,
    /// ConnectWise's id of the company; null if the company is not matched.
    #[schema(required)]
    pub connectwise_company_id: Option<String>,
    /// The company's name in ConnectWise; null if the company is not matched.
    #[schema(required)]
    pub connectwise_company_name: Option<String>,
    /// ConnectWise's id of the agreement; null if none is resolved.
    #[schema(required)]
    pub agreement_id: Option<String>,
    /// The agreement's name; null if none is resolved.
    #[schema(required)]
    pub agreement_name: Option<String>,
    /// ConnectWise's id of the addition; null if none is resolved.
    #[schema(required)]
    pub addition_id: Option<String>,
    /// The addition's product identifier and description; null if none is resolved.
    #[schema(required)]
    pub addition_name: Option<String>,
    /// The billed amount of usage, in the product's unit; null without usage that counts.
    #[schema(required)]
    pub usage: Option<Amount>,
    /// Why no quantity can be computed from the records, for people; null if there is no problem.
    #[schema(required)]
    pub problem: Option<String>,
    /// The quantity that a push would write; null without usage that counts.
    #[schema(required)]
    pub quantity: Option<Quantity>,
    /// The quantity in ConnectWise; null if it is unknown.
    #[schema(required)]
    pub connectwise_quantity: Option<Quantity>,
    /// The quantity that the month's last push wrote to the addition, or found there; null if there was no such push.
    #[schema(required)]
    pub pushed_quantity: Option<Quantity>,
    /// The quantity that is missing in ConnectWise; negative if ConnectWise has too many units; null if it is unknown.
    #[schema(required)]
    pub quantity_difference: Option<Quantity>,
    /// The code of the agreement's currency; null if it has none.
    #[schema(required)]
    pub currency: Option<String>,
    /// The price per unit; null if it is unknown.
    #[schema(required)]
    pub unit_price: Option<Money>,
    /// The amount that an invoice with `quantity` charges; null if the quantity or the price is unknown.
    #[schema(required)]
    pub amount: Option<Money>,
    /// The amount that an invoice with `connectwise_quantity` charges; null if the quantity or the price is unknown.
    #[schema(required)]
    pub connectwise_amount: Option<Money>,
    /// The amount that is missing; negative if too much is billed; null if it is unknown.
    #[schema(required)]
    pub amount_difference: Option<Money>,
    /// Whether the next invoice will not include it, because of a warning.
    pub not_invoiced: bool,
    /// Problems to check before the invoice is created.
    pub warnings: Vec<ItemWarning>,
}

/// A problem to check before the invoice is created, with the units and amount that it affects.
#[derive(Debug, Serialize, ToSchema)]
pub struct ItemWarning {
    /// The warning's code, for programs.
    pub code: InvoiceWarning,
    /// The warning as a sentence, with what to do.
    pub explanation: String,
    /// The units that the customer might not be charged for; null if they are unknown.
    #[schema(required)]
    pub quantity: Option<Quantity>,
    /// The price of these units; null if it is unknown.
    #[schema(required)]
    pub amount: Option<Money>,
}

impl From<WarningImpact> for ItemWarning {
    fn from(WarningImpact { warning, quantity, amount }: WarningImpact) -> Self {
        Self { code: warning, explanation: warning.meaning().trim().to_owned(), quantity, amount }
    }
}

impl From<NamedItem> for ReconciliationItem {
    fn from(named: NamedItem) -> Self {
        let NamedItem { item, product_code, cw_company_name, agreement_name, addition_name } = named;
        let (compared, company) = (item.compared, item.company);
        let name = company.as_ref().map(|company| company.name.clone());
        Self {
            kind: compared.kind,
            explanation: compared.kind.meaning().trim().to_owned(),
            billing_month: item.month,
            product_id: item.product_id.to_string(),
            product_code,
            billing_line_id: item.line.map(|id| id.to_string()),
            company_id: company.as_ref().map(|company| company.id.to_string()),
            company_external_id: company.map(|company| company.external_id.clone()),
            company_name: name.or_else(|| cw_company_name.clone()).unwrap_or_default(),
            connectwise_company_id: item.cw_company.map(Into::into),
            connectwise_company_name: cw_company_name,
            agreement_id: item.agreement.map(Into::into),
            agreement_name,
            addition_id: item.addition.map(Into::into),
            addition_name,
            usage: item.usage,
            problem: item.problem,
            quantity: item.quantity,
            connectwise_quantity: item.connectwise_quantity,
            pushed_quantity: item.pushed_quantity,
            quantity_difference: compared.difference,
            currency: item.currency,
            unit_price: item.unit_price,
            amount: compared.amount,
            connectwise_amount: compared.connectwise_amount,
            amount_difference: compared.amount_difference,
            not_invoiced: item.is_not_invoiced,
            warnings: item.warnings.into_iter().map(ItemWarning::from).collect(),
        }
    }
}
