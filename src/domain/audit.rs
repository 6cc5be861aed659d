//! The actions that the audit log records.

use super::string_enum::string_enum;

string_enum! {
    /// The action that was recorded.
    AuditAction {
        /// The connection to ConnectWise was set. The keys are never recorded, only whether they changed.
        ConnectionSet = "connection.set",
        /// The connection was deleted, with everything that was read through it.
        ConnectionDeleted = "connection.deleted",
        /// A company was created.
        CompanyCreated = "company.created",
        /// A company's name or external id was changed.
        CompanyUpdated = "company.updated",
        /// A company was deleted, with its billing lines and usage.
        CompanyDeleted = "company.deleted",
        /// A company was matched to a ConnectWise company, or set to Not Set.
        CompanyMatched = "company.matched",
        /// Companies were created in a batch; `new` counts them.
        CompaniesCreated = "companies.created",
        /// Companies were deleted in a batch; `old` names the first 100.
        CompaniesDeleted = "companies.deleted",
        /// A product was created.
        ProductCreated = "product.created",
        /// A product's settings were changed.
        ProductUpdated = "product.updated",
        /// A product was deleted, with its rules, billing lines and usage.
        ProductDeleted = "product.deleted",
        /// A matching rule was created.
        MatchingRuleCreated = "matching_rule.created",
        /// A matching rule was replaced.
        MatchingRuleUpdated = "matching_rule.updated",
        /// A matching rule was deleted.
        MatchingRuleDeleted = "matching_rule.deleted",
        /// A billing line was enabled or disabled, its block size, minimum or adjustment was changed, or a choice was
        /// made or cleared.
        BillingLineUpdated = "billing_line.updated",
        /// The push schedule was set.
        PushScheduleSet = "push_schedule.set",
        /// A push, dry run, retry or revert was started.
        PushJobCreated = "push_job.created",
        /// Cancellation of a push job was requested.
        PushJobCancelled = "push_job.cancelled",
        /// Held lines were approved.
        PushLinesApproved = "push_lines.approved",
        /// Held lines were dropped.
        PushLinesDropped = "push_lines.dropped",
        /// A webhook was created. Its secret is never recorded.
        WebhookCreated = "webhook.created",
        /// A webhook was changed, or disabled because its deliveries failed.
        WebhookUpdated = "webhook.updated",
        /// A webhook was deleted, with its deliveries.
        WebhookDeleted = "webhook.deleted",
        /// A webhook got a new secret.
        WebhookSecretRotated = "webhook.secret_rotated",
        /// A delivery was sent again.
        WebhookDeliveryResent = "webhook_delivery.resent",
        /// An API key was created.
        ApiKeyCreated = "api_key.created",
        /// An API key was revoked.
        ApiKeyRevoked = "api_key.revoked",
        /// A request used a revoked API key, or a key of which only the beginning is right. At most one entry is
        /// written per minute and key.
        ApiKeyRejected = "api_key.rejected",
    }
}
