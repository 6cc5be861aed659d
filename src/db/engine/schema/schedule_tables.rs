//! The tables of scheduled pushes.

diesel::table! {
    push_schedules (tenant_id) {
        tenant_id -> Text,
        enabled -> Bool,
        day_of_month -> BigInt,
        time_of_day -> Text,
        time_zone -> Text,
        days_before_invoice -> Nullable<BigInt>,
        enabled_at -> Nullable<Timestamp>,
        version -> BigInt,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    billing_time_zones (tenant_id, from_month) {
        tenant_id -> Text,
        from_month -> Text,
        time_zone -> Text,
    }
}

diesel::table! {
    push_schedule_runs (tenant_id, month) {
        tenant_id -> Text,
        month -> Text,
        due_at -> Timestamp,
        job_id -> Text,
        created_at -> Timestamp,
    }
}

diesel::table! {
    push_invoice_runs (id) {
        id -> Text,
        tenant_id -> Text,
        agreement_id -> BigInt,
        invoice_on -> Date,
        job_id -> Text,
        created_at -> Timestamp,
    }
}
