//! The conflicts that each operation can return. An operation that is not listed returns no 409.

use crate::domain::ConflictCode::{self, *};

/// The conflicts of an operation that reads from ConnectWise.
const READING: &[ConflictCode] = &[NotConnected, RefreshRunning, RefreshWouldDrop, ConnectionChanged];

/// The conflicts of an operation.
pub(super) fn conflicts_of(operation_id: &str) -> Vec<ConflictCode> {
    let own: &[ConflictCode] = match operation_id {
        "create_company" => &[ExternalIdTaken],
        "replace_company" | "update_company" => &[ExternalIdTaken],
        "delete_company" | "delete_companies" | "delete_connection" => &[PushJobRunning],
        "delete_product" => &[PushJobRunning, OverageNotBilled],
        "match_company" => &[ConnectwiseCompanyTaken, NotConnected],
        "create_product" | "replace_product" | "update_product" => &[CodeTaken, OverageNotBilled],
        "update_billing_line" => &[OverageNotBilled],
        "create_matching_rule" => &[RuleExists],
        "put_connection" => &[OtherConnectwise],
        "test_connection" => &[NotConnected],
        "choose_agreement" => &[CompanyNotSet, NotAChoice, NotLive],
        "choose_addition" => &[AgreementNotResolved, NotAChoice, NotLive, NotConnected, ConnectionChanged],
        "choose_additions" | "import_billing_lines" => &[NotConnected, ConnectionChanged],
        "create_webhook" => &[TooManyWebhooks],
        "test_webhook" => &[WebhookDisabled],
        "resend_webhook_delivery" => &[WebhookDisabled, DeliveryPending],
        "create_push_job" => &[NotConnected, NotADryRun, DryRunNotFinished, NothingToPush, ConnectionChanged],
        "cancel_push_job" => &[PushJobFinished],
        "retry_push_job" => &[PushJobRunning, NothingToRetry, NothingToPush, NotConnected, ConnectionChanged],
        "revert_push_job" => &[PushJobRunning, NothingToRevert, ConnectionChanged],
        "approve_push_lines" => &[NothingHeld, PushJobFinished, ConnectionChanged],
        "drop_push_lines" => &[NothingHeld],
        "list_connectwise_companies"
        | "list_connectwise_agreements"
        | "list_connectwise_additions"
        | "auto_match_companies"
        | "import_company_matches"
        | "refresh_connectwise"
        | "resolve_product" => READING,
        _ => &[],
    };
    own.to_vec()
}
