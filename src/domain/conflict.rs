//! Why a request conflicts with the current state.

use super::string_enum::string_enum;

string_enum! {
    /// The kinds of conflict. Each has a code for callers, which is the last part of a problem's `type`.
    ConflictCode {
        /// A record with this unique value already exists.
        AlreadyExists = "already_exists",
        /// Another product has this code.
        CodeTaken = "code_taken",
        /// Another company has this external id.
        ExternalIdTaken = "external_id_taken",
        /// The product already has a rule for this target.
        RuleExists = "rule_exists",
        /// Another company is matched to this ConnectWise company.
        ConnectwiseCompanyClaimed = "connectwise_company_claimed",
        /// The company is not matched to a ConnectWise company.
        CompanyNotSet = "company_not_set",
        /// The line's agreement is not resolved.
        AgreementNotResolved = "agreement_not_resolved",
        /// The line cannot bill to this agreement or addition.
        NotAChoice = "not_a_choice",
        /// The agreement or addition is cancelled, ended or deleted.
        NotLive = "not_live",
        /// The id and the identifier belong to different records.
        Contradiction = "contradiction",
        /// The request names the same record twice.
        NamedTwice = "named_twice",
        /// No ConnectWise connection is configured.
        NotConnected = "not_connected",
        /// The address belongs to another ConnectWise site, and records of the current site are still stored.
        OtherConnectwise = "other_connectwise",
        /// The connection was changed while ConnectWise was being read.
        ConnectionChanged = "connection_changed",
        /// A refresh is running.
        RefreshRunning = "refresh_running",
        /// ConnectWise returned less than half of the known records.
        RefreshWouldDrop = "refresh_would_drop",
        /// A push job has not ended.
        PushJobRunning = "push_job_running",
        /// The push job has ended.
        PushJobFinished = "push_job_finished",
        /// The push job is not a dry run.
        NotADryRun = "not_a_dry_run",
        /// The dry run did not finish.
        DryRunNotFinished = "dry_run_not_finished",
        /// No line of the push job waits for approval.
        NothingHeld = "nothing_held",
        /// No line would be pushed.
        NothingToPush = "nothing_to_push",
        /// No line of the push job failed.
        NothingToRetry = "nothing_to_retry",
        /// No line of the push job can be reverted.
        NothingToRevert = "nothing_to_revert",
        /// The push job or line is in a state that does not allow it.
        InvalidTransition = "illegal_step",
        /// Another worker holds the line.
        LostLease = "lost_lease",
        /// There is no database at the address.
        NoDatabase = "no_database",
        /// The file is not an SQLite database.
        NotSqlite = "not_sqlite",
        /// The database or its lock cannot be written.
        NotWritable = "not_writable",
        /// The database to copy to is not empty.
        NotEmpty = "not_empty",
        /// The two databases have different schema versions.
        OtherSchema = "other_schema",
        /// The copy differs from the source.
        CopyDiffers = "copy_differs",
        /// Another process uses the database file.
        DatabaseInUse = "database_in_use",
    }
}
