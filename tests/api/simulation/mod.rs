//! A seeded simulation: several workers, the schedule, the clock and people act on one database in a random order, over
//! sandboxes with faults. Workers die or freeze between any two steps. At the end the sandboxes and the history of
//! pushes must agree.
//!
//! `scripts/simulate --seeds N` runs N seeds on each database. A seed that fails prints the command that replays it.
//! The seed makes the choices, but threads and sockets are real, so a replay may take another course.

mod actions;
mod checks;
mod executor;
mod people;
mod rows;
mod world;

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;

use crate::support::Backend;
use actions::Simulation;
use world::Template;

/// How many seeds run with the other tests. `scripts/test` runs more with `scripts/simulate`.
const SEEDS_IN_SUITE: u64 = 6;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

/// After how many seeds the progress is printed.
const SEEDS_A_REPORT: u64 = 100;

/// Runs each seed once, on several threads. Reports all seeds that failed.
fn run(backend: Backend) {
    let first = number("CWB_SIMULATE_FROM", 0);
    let last = first + number("CWB_SIMULATE_SEEDS", SEEDS_IN_SUITE);
    let (next, ended, failures) = (AtomicU64::new(first), AtomicU64::new(0), Mutex::new(Vec::new()));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    // Most of a seed's time is spent waiting.
    let threads = number("CWB_SIMULATE_THREADS", 2 * processors as u64).clamp(1, last - first);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
                runtime.block_on(async {
                    let template = Template::new(backend).await;
                    loop {
                        let seed = next.fetch_add(1, Ordering::SeqCst);
                        if seed >= last {
                            return;
                        }
                        if let Err(failure) = run_seed(&template, seed).await {
                            println!("{failure}");
                            failures.lock().unwrap().push(seed);
                        }
                        let ended = ended.fetch_add(1, Ordering::SeqCst) + 1;
                        if ended % SEEDS_A_REPORT == 0 {
                            let failed = failures.lock().unwrap().len();
                            println!("{backend:?}: {ended} of {} seeds ended, {failed} failed", last - first);
                        }
                    }
                });
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} seeds failed: {failures:?}", failures.len(), last - first);
}

async fn run_seed(template: &Template, seed: u64) -> Result<(), String> {
    let mut simulation = Simulation::start(template, seed).await;
    let ran = AssertUnwindSafe(simulation.run()).catch_unwind().await;
    let why = match ran {
        Ok(violations) if violations.is_empty() => String::new(),
        Ok(violations) => violations.join("\n  "),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        }
    };
    let trace = simulation.trace();
    simulation.stop().await;
    if std::env::var("TRACE").is_ok() {
        println!("{trace}");
    }
    if why.is_empty() {
        return Ok(());
    }
    let database = if template.backend == Backend::Sqlite { "sqlite" } else { "postgres" };
    Err(format!("seed {seed}: {why}\n  replay: TRACE=1 scripts/simulate --database {database} --seed {seed}\n"))
}

#[test]
fn sqlite() {
    run(Backend::Sqlite);
}

mod postgres {
    #[test]
    fn replicas() {
        super::run(super::Backend::Postgres);
    }
}
