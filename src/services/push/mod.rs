//! Pushes quantities: a job is stored with all its lines, and then workers process them.
//!
//! - A request (`start`) or the scheduler (`monthly_push`) stores a job with its lines (`create`), or one that repeats
//!   or undoes another job (`follow_up_jobs`).
//! - A worker takes due lines by lease (`run`, `claimed`), reads their agreements (`process`, `agreement`), compares
//!   each line with ConnectWise and writes it (`write`, `still_valid`, `overage_check`), and stores the results
//!   (`line_result`, `store_results`).
//! - A person approves or drops held lines (`decide`), cancels a job (`jobs`), or watches it (`progress`, `subscribe`).

mod agreement;
mod alerts;
mod claimed;
mod create;
mod decide;
mod follow_up_jobs;
mod job_audit;
mod jobs;
mod later_jobs;
mod line_result;
mod monthly_push;
mod overage_check;
mod process;
pub(super) mod progress;
mod run;
mod start;
mod still_valid;
mod store_results;
mod subscribe;
mod write;

pub use create::{NewPush, create};
pub use decide::{Decision, decide};
pub use jobs::{cancel, list};
pub use monthly_push::{refresh_invoice_dates, start_due};
pub use progress::{Progress, progress};
pub use run::{poll, run_one};
pub use start::{PushRequest, start};
pub use subscribe::subscribe;
