//! Queries across tenants: API keys by prefix, the list of tenants, the enabled schedules, due deliveries, and cleanup.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::schema::{
    api_keys, idempotency_keys, push_schedules, tenants, usage_records, webhook_deliveries, webhooks,
};
use crate::db::engine::tx::SystemTx;
use crate::db::queries::tenants::{ApiKey, Tenant};
use crate::domain::Result;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{CompanyId, ProductId, TenantId};

/// Maximum number of companies and products whose totals are completed in one step.
const KEYS_PER_STEP: i64 = 50;

/// A tenant, a product and a company.
pub type UsageKey = (TenantId, ProductId, CompanyId);

impl SystemTx<'_> {
    /// The API key with a prefix, of any tenant, revoked or not.
    pub fn api_key_by_prefix(&mut self, prefix: &str) -> Result<Option<ApiKey>> {
        let query = api_keys::table.filter(api_keys::prefix.eq(prefix));
        // Two keys with the same prefix are practically impossible; a valid key is preferred.
        let query = query.order((api_keys::revoked_at.is_not_null(), api_keys::id.desc()));
        Ok(query.select(ApiKey::as_select()).first(self.conn).optional()?)
    }

    /// All tenants, oldest first.
    pub fn tenants(&mut self) -> Result<Vec<Tenant>> {
        Ok(tenants::table.order(tenants::id).select(Tenant::as_select()).load(self.conn)?)
    }

    /// Adds a tenant.
    pub fn insert_tenant(&mut self, tenant: &Tenant) -> Result<()> {
        diesel::insert_into(tenants::table).values(tenant).execute(self.conn)?;
        Ok(())
    }

    /// Whether there is any tenant.
    pub fn has_tenants(&mut self) -> Result<bool> {
        Ok(diesel::select(diesel::dsl::exists(tenants::table.select(tenants::id))).get_result(self.conn)?)
    }

    /// The tenants whose schedule is enabled.
    pub fn scheduled_tenants(&mut self) -> Result<Vec<TenantId>> {
        let enabled = push_schedules::table.filter(push_schedules::enabled.eq(true));
        Ok(enabled.order(push_schedules::tenant_id).select(push_schedules::tenant_id).load(self.conn)?)
    }

    /// The tenants whose agreements are pushed before their invoices.
    pub fn tenants_by_invoice(&mut self) -> Result<Vec<TenantId>> {
        let enabled = push_schedules::table
            .filter(push_schedules::enabled.eq(true))
            .filter(push_schedules::days_before_invoice.is_not_null());
        Ok(enabled.order(push_schedules::tenant_id).select(push_schedules::tenant_id).load(self.conn)?)
    }

    /// Deletes idempotency responses stored before a time. Returns their number.
    pub fn delete_expired_responses(&mut self, before: Timestamp) -> Result<usize> {
        let old = idempotency_keys::table.filter(idempotency_keys::created_at.lt(before.naive_utc()));
        Ok(diesel::delete(old).execute(self.conn)?)
    }

    /// The next tenants, products and companies, in order after the given one, with records that are not part of the
    /// totals yet.
    pub fn not_totalled(&mut self, after: Option<&UsageKey>) -> Result<Vec<UsageKey>> {
        use crate::db::engine::schema::usage_records::{company_id, product_id, tenant_id};
        let key = (tenant_id, product_id, company_id);
        let mut keys = usage_records::table.filter(usage_records::totalled_at.is_null()).into_boxed();
        if let Some((tenant, product, company)) = after.cloned() {
            let same_product = tenant_id.eq(tenant.clone()).and(product_id.eq(product.clone()));
            let later_product = tenant_id.eq(tenant.clone()).and(product_id.gt(product));
            keys = keys.filter(tenant_id.gt(tenant).or(later_product).or(same_product.and(company_id.gt(company))));
        }
        Ok(keys.select(key).distinct().order(key).limit(KEYS_PER_STEP).load(self.conn)?)
    }

    /// The tenants with deliveries that can be claimed now. One statement.
    pub fn tenants_with_due_deliveries(&mut self, now: Timestamp) -> Result<Vec<TenantId>> {
        let at = now.naive_utc();
        let due = webhook_deliveries::table
            .filter(webhook_deliveries::finished_at.is_null())
            .filter(webhook_deliveries::not_before.le(at))
            .filter(webhook_deliveries::lease_until.is_null().or(webhook_deliveries::lease_until.lt(at)));
        Ok(due.select(webhook_deliveries::tenant_id).distinct().load(self.conn)?)
    }

    /// Deletes deliveries that ended before a time. Returns their number.
    pub fn delete_old_deliveries(&mut self, before: Timestamp) -> Result<usize> {
        let old = webhook_deliveries::table.filter(webhook_deliveries::finished_at.lt(before.naive_utc()));
        Ok(diesel::delete(old).execute(self.conn)?)
    }

    /// Ends the leases of deliveries. Call it only when a process starts and is the only one, as on SQLite.
    pub fn end_delivery_leases(&mut self) -> Result<()> {
        let leased = webhook_deliveries::table.filter(webhook_deliveries::lease_until.is_not_null());
        diesel::update(leased).set(webhook_deliveries::lease_until.eq(None::<NaiveDateTime>)).execute(self.conn)?;
        Ok(())
    }

    /// The tenants with webhooks.
    pub fn tenants_with_webhooks(&mut self) -> Result<Vec<TenantId>> {
        let enabled = webhooks::table.filter(webhooks::disabled_reason.is_null());
        Ok(enabled.select(webhooks::tenant_id).distinct().load(self.conn)?)
    }
}
