//! The tables of reconciliations.

diesel::table! {
    reconciliation_snapshots (id) {
        id -> Text,
        tenant_id -> Text,
        push_job_id -> Text,
        product_id -> Text,
        product_code -> Text,
        product_name -> Text,
        billing_month -> Text,
        items -> BigInt,
        to_look_at -> BigInt,
        quantity -> Text,
        connectwise_quantity -> Text,
        difference -> Text,
        currency -> Nullable<Text>,
        amount -> Nullable<Text>,
        connectwise_amount -> Nullable<Text>,
        amount_difference -> Nullable<Text>,
        left_out -> Nullable<Text>,
        taken_at -> Timestamp,
    }
}
