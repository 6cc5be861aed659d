//! The tables, with types that both databases share. A test compares them with `migrations/`.

mod reconciliation_tables;
mod schedule_tables;
mod webhook_tables;

pub(in crate::db) use reconciliation_tables::*;
pub(in crate::db) use schedule_tables::*;
pub(in crate::db) use webhook_tables::*;

diesel::table! {
    audit_log (id) {
        id -> Text,
        tenant_id -> Text,
        at -> Timestamp,
        actor -> Text,
        api_key_id -> Nullable<Text>,
        request_id -> Nullable<Text>,
        action -> Text,
        subject_id -> Nullable<Text>,
        subject_name -> Nullable<Text>,
        old -> Nullable<Text>,
        new -> Nullable<Text>,
        acting_user -> Nullable<Text>,
    }
}

diesel::table! {
    tenants (id) {
        id -> Text,
        name -> Text,
        created_at -> Timestamp,
    }
}

diesel::table! {
    api_keys (id) {
        id -> Text,
        tenant_id -> Text,
        name -> Text,
        prefix -> Text,
        hash -> Text,
        created_at -> Timestamp,
        revoked_at -> Nullable<Timestamp>,
    }
}

diesel::table! {
    connections (tenant_id) {
        tenant_id -> Text,
        site -> Text,
        company_id -> Text,
        client_id -> Text,
        secrets -> Text,
        provenance_field -> Nullable<Text>,
        version -> BigInt,
        created_at -> Timestamp,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    cw_companies (tenant_id, id) {
        tenant_id -> Text,
        id -> BigInt,
        identifier -> Text,
        identifier_key -> Text,
        name -> Text,
        name_key -> Text,
        status -> Nullable<Text>,
        deleted -> Bool,
        gone_at -> Nullable<Timestamp>,
    }
}

diesel::table! {
    cw_agreements (tenant_id, id) {
        tenant_id -> Text,
        id -> BigInt,
        company_id -> BigInt,
        name -> Text,
        name_key -> Text,
        type_name -> Nullable<Text>,
        status -> Nullable<Text>,
        cancelled -> Bool,
        cancelled_at -> Nullable<Timestamp>,
        ends_at -> Nullable<Timestamp>,
        no_end -> Bool,
        gone_at -> Nullable<Timestamp>,
        additions_read_at -> Nullable<Timestamp>,
        billing_cycle -> Nullable<Text>,
        next_invoice -> Nullable<Date>,
        prorates -> Nullable<Bool>,
        parent_id -> Nullable<BigInt>,
        currency -> Nullable<Text>,
        last_invoice -> Nullable<Date>,
        unbilled_periods -> Nullable<BigInt>,
    }
}

diesel::table! {
    cw_additions (tenant_id, id) {
        tenant_id -> Text,
        id -> BigInt,
        agreement_id -> BigInt,
        product_identifier -> Nullable<Text>,
        description -> Nullable<Text>,
        quantity -> Nullable<Text>,
        cancelled_at -> Nullable<Timestamp>,
        gone_at -> Nullable<Timestamp>,
        less_included -> Nullable<Text>,
        bill_customer -> Nullable<Text>,
        unit_price -> Nullable<Text>,
        effective -> Nullable<Date>,
    }
}

diesel::table! {
    cw_refreshes (tenant_id) {
        tenant_id -> Text,
        lease_owner -> Nullable<Text>,
        lease_until -> Nullable<Timestamp>,
        finished_at -> Nullable<Timestamp>,
        error -> Nullable<Text>,
        companies -> BigInt,
        agreements -> BigInt,
        additions -> BigInt,
        recap_list -> Nullable<Text>,
    }
}

diesel::table! {
    cw_generations (tenant_id) {
        tenant_id -> Text,
        generation -> Text,
    }
}

diesel::table! {
    line_changes (billing_line_id, id) {
        id -> Text,
        tenant_id -> Text,
        billing_line_id -> Text,
        part -> Text,
        became -> Text,
        changed_at -> Timestamp,
        changed_by -> Text,
    }
}

diesel::table! {
    companies (id) {
        id -> Text,
        tenant_id -> Text,
        external_id -> Text,
        name -> Text,
        name_key -> Text,
        connectwise_company_id -> Nullable<BigInt>,
        match_source -> Nullable<Text>,
        matched_at -> Nullable<Timestamp>,
        matched_by -> Nullable<Text>,
        version -> BigInt,
        created_at -> Timestamp,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    products (id) {
        id -> Text,
        tenant_id -> Text,
        code -> Text,
        name -> Text,
        name_key -> Text,
        unit -> Text,
        block_size -> Text,
        rounding -> Text,
        aggregation -> Text,
        max_change_percent -> Nullable<Text>,
        max_change_units -> Nullable<Text>,
        billing_period -> Nullable<Text>,
        max_usage_age_days -> BigInt,
        minimum_quantity -> Nullable<Text>,
        included_quantity -> Nullable<Text>,
        overage_of -> Nullable<Text>,
        when_invoiced -> Text,
        version -> BigInt,
        created_at -> Timestamp,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    matching_rules (id) {
        id -> Text,
        tenant_id -> Text,
        product_id -> Text,
        target -> Text,
        expression -> Text,
        version -> BigInt,
        created_at -> Timestamp,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    billing_lines (id) {
        id -> Text,
        tenant_id -> Text,
        company_id -> Text,
        product_id -> Text,
        push_enabled -> Bool,
        block_size -> Nullable<Text>,
        minimum_quantity -> Nullable<Text>,
        included_quantity -> Nullable<Text>,
        adjustment -> Nullable<Text>,
        agreement_status -> Text,
        agreement_source -> Nullable<Text>,
        agreement_id -> Nullable<BigInt>,
        agreement_reason -> Nullable<Text>,
        agreement_candidates -> Nullable<Text>,
        agreement_changed_at -> Nullable<Timestamp>,
        agreement_changed_by -> Nullable<Text>,
        addition_status -> Text,
        addition_source -> Nullable<Text>,
        addition_id -> Nullable<BigInt>,
        addition_reason -> Nullable<Text>,
        addition_candidates -> Nullable<Text>,
        addition_changed_at -> Nullable<Timestamp>,
        addition_changed_by -> Nullable<Text>,
        last_push_job_id -> Nullable<Text>,
        last_push_state -> Nullable<Text>,
        last_push_reason -> Nullable<Text>,
        last_push_at -> Nullable<Timestamp>,
        last_push_quantity -> Nullable<Text>,
        version -> BigInt,
        created_at -> Timestamp,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    usage_records (id) {
        id -> Text,
        tenant_id -> Text,
        company_id -> Text,
        product_id -> Text,
        amount -> Text,
        measured_at -> Timestamp,
        source -> Text,
        received_at -> Timestamp,
        superseded_by -> Nullable<Text>,
        late -> Bool,
        totalled_at -> Nullable<Timestamp>,
    }
}

diesel::table! {
    usage_totals (id) {
        id -> Text,
        tenant_id -> Text,
        product_id -> Text,
        company_id -> Text,
        month -> Text,
        records -> BigInt,
        first_at -> Timestamp,
        last_at -> Timestamp,
        last_source -> Text,
        last_amount -> Text,
        max_amount -> Text,
        sum_amount -> Text,
    }
}

diesel::table! {
    push_jobs (id) {
        id -> Text,
        tenant_id -> Text,
        kind -> Text,
        started_by -> Text,
        state -> Text,
        detail -> Nullable<Text>,
        product_id -> Nullable<Text>,
        parent_job_id -> Nullable<Text>,
        billing_month -> Text,
        requested_by -> Text,
        cancel_requested -> Bool,
        line_count -> BigInt,
        created_at -> Timestamp,
        started_at -> Nullable<Timestamp>,
        finished_at -> Nullable<Timestamp>,
        final_counts -> Nullable<Text>,
    }
}

diesel::table! {
    push_lines (id) {
        id -> Text,
        tenant_id -> Text,
        job_id -> Text,
        billing_line_id -> Text,
        company_id -> Text,
        company_name -> Text,
        product_id -> Text,
        product_code -> Text,
        agreement_id -> Nullable<BigInt>,
        agreement_name -> Nullable<Text>,
        addition_id -> Nullable<BigInt>,
        addition_name -> Nullable<Text>,
        usage_amount -> Nullable<Text>,
        block_size -> Nullable<Text>,
        adjustment -> Nullable<Text>,
        minimum_quantity -> Nullable<Text>,
        included_quantity -> Nullable<Text>,
        from_quantity -> Nullable<Text>,
        to_quantity -> Nullable<Text>,
        state -> Text,
        reason -> Nullable<Text>,
        detail -> Nullable<Text>,
        attempts -> BigInt,
        failures -> BigInt,
        lease_owner -> Nullable<Text>,
        lease_until -> Nullable<Timestamp>,
        fence -> BigInt,
        not_before -> Nullable<Timestamp>,
        expected_from -> Nullable<Text>,
        approved -> Bool,
        approved_for -> Nullable<Text>,
        decided_by -> Nullable<Text>,
        billing_month -> Nullable<Text>,
        month_closed -> Nullable<Bool>,
        usage_through -> Nullable<Timestamp>,
        usage_records -> Nullable<BigInt>,
        decided_at -> Nullable<Timestamp>,
        started_at -> Nullable<Timestamp>,
        finished_at -> Nullable<Timestamp>,
    }
}

diesel::table! {
    idempotency_keys (tenant_id, key) {
        tenant_id -> Text,
        key -> Text,
        request_hash -> Text,
        status -> BigInt,
        location -> Nullable<Text>,
        body -> Text,
        created_at -> Timestamp,
    }
}

diesel::table! {
    request_budgets (tenant_id) {
        tenant_id -> Text,
        next_at -> Timestamp,
        held_until -> Timestamp,
    }
}

diesel::table! {
    connection_failures (tenant_id) {
        tenant_id -> Text,
        since -> Timestamp,
        cause -> Text,
    }
}

diesel::table! {
    usage_checks (tenant_id) {
        tenant_id -> Text,
        checked_until -> Timestamp,
    }
}

diesel::allow_tables_to_appear_in_same_query!(connection_failures, connections);
diesel::joinable!(billing_lines -> companies (company_id));
diesel::joinable!(push_lines -> push_jobs (job_id));

diesel::allow_tables_to_appear_in_same_query!(companies, usage_records);
diesel::allow_tables_to_appear_in_same_query!(billing_lines, companies, cw_companies);
diesel::allow_tables_to_appear_in_same_query!(billing_lines, push_jobs, push_lines);
