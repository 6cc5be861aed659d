//! The foundation of the queries: connections, transactions, tenant scoping, pages, and the schema.

pub(super) mod announcements;
pub(super) mod conn;
pub(super) mod error;
pub(super) mod file;
pub(super) mod in_list;
pub(super) mod instance_lock;
pub(super) mod keyed_locks;
pub(super) mod maintenance;
pub(super) mod migrate;
pub(super) mod page;
pub(super) mod pool;
pub(super) mod record_index_cache;
pub(super) mod schema;
pub(super) mod scope;
pub(super) mod tx;
pub(super) mod types;
pub(super) mod update_rows;
pub(super) mod url;
