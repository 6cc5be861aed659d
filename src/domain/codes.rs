//! The codes of errors: stable names that a caller can compare. The first sentence of each says what it means; the
//! others say what to do, and are shown to callers as well.

use super::rules::RuleCode;
use super::string_enum::string_enum;

string_enum! {
    /// The kinds of conflict with the current state.
    ConflictCode {
        /// A record with this unique value exists already. Get it, and change it instead.
        AlreadyExists = "already_exists",
        /// Another product has this code. Choose another code, or change the other product.
        CodeTaken = "code_taken",
        /// Another company has this external id. Choose another external id, or change the other company.
        ExternalIdTaken = "external_id_taken",
        /// No product would bill the units above an included quantity. Create the overage product first, with
        /// `overage_of`; before deleting one of the two products, remove the included quantities.
        OverageNotBilled = "overage_not_billed",
        /// The product has a rule for this target already. Replace that rule instead.
        RuleExists = "rule_exists",
        /// Another company is matched to this ConnectWise company. Unmatch the other company first, or send
        /// `"shared": true` if both bill to it.
        ConnectwiseCompanyTaken = "connectwise_company_taken",
        /// The company is not matched to a ConnectWise company. Match it first.
        CompanyNotSet = "company_not_set",
        /// The line's agreement is not resolved. Choose its agreement first, or correct the product's agreement rule.
        AgreementNotResolved = "agreement_not_resolved",
        /// The line cannot bill to this agreement or addition. Choose an agreement of the line's ConnectWise company,
        /// or an addition of the line's agreement.
        NotAChoice = "not_a_choice",
        /// The agreement or addition is cancelled, ended or deleted. Choose one that is live.
        NotLive = "not_live",
        /// The id and the identifier belong to different records. Send only one of them.
        Contradiction = "contradiction",
        /// The request names the same record twice. Name it once.
        NamedTwice = "named_twice",
        /// No ConnectWise connection is set. Set it with `PUT /connection`.
        NotConnected = "not_connected",
        /// The address belongs to another ConnectWise site, and records of the current site are still stored. Delete
        /// the connection first: that also deletes those records, and the matches and choices that refer to them.
        OtherConnectwise = "other_connectwise",
        /// The connection was changed while ConnectWise was being read. Repeat the request.
        ConnectionChanged = "connection_changed",
        /// A refresh is running. Repeat the request when it has ended.
        RefreshRunning = "refresh_running",
        /// ConnectWise returned less than half of the known records. Check the security role of the API member; if the
        /// records were really deleted, repeat the refresh with `"force": true`.
        RefreshWouldDrop = "refresh_would_drop",
        /// A push job has not ended. Wait for it to end, or cancel it.
        PushJobRunning = "push_job_running",
        /// The push job has ended. Create a new one.
        PushJobFinished = "push_job_finished",
        /// The push job is not a dry run. Name a dry run.
        NotADryRun = "not_a_dry_run",
        /// The dry run did not finish. Make another one.
        DryRunNotFinished = "dry_run_not_finished",
        /// No line of the push job waits for approval. Nothing is left to do.
        NothingHeld = "nothing_held",
        /// No line would be pushed. Enable lines, or change what is pushed.
        NothingToPush = "nothing_to_push",
        /// No line of the push job failed, or all failed lines have been pushed since. Nothing is left to do.
        NothingToRetry = "nothing_to_retry",
        /// No line of the push job can be reverted. Its lines were not written, or were reverted or pushed again since.
        NothingToRevert = "nothing_to_revert",
        /// The tenant has the maximum number of webhooks. Delete one first.
        TooManyWebhooks = "too_many_webhooks",
        /// The webhook is disabled. Enable it first, with `PATCH /webhooks/{id}`.
        WebhookDisabled = "webhook_disabled",
        /// The delivery has not ended, and will be attempted again automatically. Wait for its next attempt.
        DeliveryPending = "delivery_pending",
        /// The push job or line is in a state that does not allow this. Get it again.
        InvalidTransition = "invalid_transition",
    }
}

string_enum! {
    /// The kinds of failure at ConnectWise.
    ConnectWiseCode {
        /// The address of ConnectWise cannot be resolved, or is not allowed. Correct the connection's `site`.
        Address = "connectwise_address",
        /// ConnectWise has no company with this company id. Correct the connection's `company_id`.
        Company = "connectwise_company",
        /// The API is not at the address that ConnectWise names for the company. Correct the connection's `site` or
        /// `company_id`.
        Codebase = "connectwise_codebase",
        /// ConnectWise rejects the public or private key. Create a new pair for the API member and set the connection.
        Keys = "connectwise_keys",
        /// ConnectWise rejects the client id. Correct the connection's `client_id`.
        ClientId = "connectwise_client_id",
        /// The security role of the API member lacks a permission. `detail` names it; grant it in ConnectWise.
        Permission = "connectwise_permission",
        /// The stored keys cannot be decrypted with the current encryption key. Set the connection again.
        KeysUnreadable = "connection_keys_unreadable",
        /// ConnectWise rejected the request. `detail` has its reason; the same request would be rejected again.
        Rejected = "connectwise_rejected",
        /// The record no longer exists in ConnectWise. Refresh, and choose another one.
        Gone = "connectwise_gone",
        /// Somebody is changing the record in ConnectWise at the same time. Repeat the request.
        Conflict = "connectwise_conflict",
        /// ConnectWise allows no more requests for now. Repeat the request after the number of seconds in
        /// `Retry-After`.
        Throttled = "connectwise_throttled",
        /// ConnectWise cannot be reached, or failed. Repeat the request later.
        Unavailable = "connectwise_unavailable",
        /// ConnectWise sent a response that cannot be read. Repeat the request; if it fails again, check the address
        /// and anything in between, such as a proxy.
        InvalidResponse = "connectwise_invalid_response",
        /// ConnectWise reported success, but did not store the quantity. Check the addition in ConnectWise.
        NotApplied = "connectwise_not_applied",
    }
}

string_enum! {
    /// The kinds of error in a field.
    FieldCode {
        /// The field is missing or blank.
        Required = "required",
        /// The type of the value is wrong, such as a number instead of a text.
        WrongType = "wrong_type",
        /// The value is not one of the valid ones, or has the wrong format.
        BadValue = "bad_value",
        /// The text or list is too short or too long.
        Length = "length",
        /// The number or time is too small or too large.
        OutOfRange = "out_of_range",
        /// The text is blank, or has control characters.
        NotPlainText = "plain_text",
        /// The text contains a character that cannot be stored.
        BadText = "bad_text",
        /// The object has no such member.
        UnknownField = "unknown_field",
        /// The operation has no such query parameter.
        UnknownParameter = "unknown_parameter",
        /// The same parameter or record is given twice.
        Duplicate = "duplicate",
        /// An earlier record of the same request has the same key.
        DuplicateInBatch = "duplicate_in_batch",
        /// Two fields contradict each other.
        Contradiction = "contradiction",
        /// There is no record with this id or code.
        NotFound = "not_found",
        /// The header has the wrong format.
        BadHeader = "bad_header",
        /// The cursor does not belong to this list with this `sort`.
        BadCursor = "bad_cursor",
        /// The address is not that of a ConnectWise site.
        BadSite = "bad_site",
        /// The push line does not wait for approval.
        NotHeld = "not_held",
        /// The record was changed in the meantime.
        VersionMismatch = "version_mismatch",
        /// The text is not valid JSON.
        Malformed = "malformed",
        /// The row is not valid CSV.
        BadCsv = "bad_csv",
        /// A column is missing in the table.
        MissingColumn = "missing_column",
        /// The table has a column that the import does not have.
        UnknownColumn = "unknown_column",
        /// The table has this column twice.
        ColumnTwice = "column_twice",
        /// The table has too many rows.
        TooManyRows = "too_many_rows",
        /// The table has too many columns.
        TooManyColumns = "too_many_columns",
        /// The table has too many cells.
        TooManyCells = "too_many_cells",
    }
}

/// The code of an invalid field: what is wrong with its value, with its expression, or with the record that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(&'static str);

impl ErrorCode {
    /// All codes that a field can have, without repetition.
    pub fn all() -> Vec<&'static str> {
        let fields = FieldCode::ALL.iter().map(|code| code.as_str());
        let rules = RuleCode::ALL.iter().map(|code| code.as_str());
        let conflicts = ConflictCode::ALL.iter().map(|code| code.as_str());
        let mut codes: Vec<&str> = Vec::new();
        let connectwise = ConnectWiseCode::ALL.iter().map(|code| code.as_str());
        for code in fields.chain(rules).chain(conflicts).chain(connectwise) {
            if !codes.contains(&code) {
                codes.push(code);
            }
        }
        codes
    }

    /// The text, as callers see it.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl From<FieldCode> for ErrorCode {
    fn from(code: FieldCode) -> Self {
        Self(code.as_str())
    }
}

impl From<ConnectWiseCode> for ErrorCode {
    fn from(code: ConnectWiseCode) -> Self {
        Self(code.as_str())
    }
}

impl From<RuleCode> for ErrorCode {
    fn from(code: RuleCode) -> Self {
        Self(code.as_str())
    }
}

impl From<ConflictCode> for ErrorCode {
    fn from(code: ConflictCode) -> Self {
        Self(code.as_str())
    }
}
