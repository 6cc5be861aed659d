//! Supervises the worker's loops: a loop that panics is restarted.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::services::{LoopCount, RunningLoop};

/// How long to wait before a loop that panicked is restarted.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// Runs a loop until the process stops. Restarts it if it panics, and counts the restart. The process's panic hook has
/// already logged the panic. The loop counts as running from the call on, before it is polled first.
pub(super) fn supervise<F: Future<Output = ()>>(
    name: &'static str,
    stop: CancellationToken,
    running: LoopCount,
    start: impl Fn() -> F,
) -> impl Future<Output = ()> {
    let first = running.count();
    run(name, stop, running, first, start)
}

async fn run<F: Future<Output = ()>>(
    name: &'static str,
    stop: CancellationToken,
    running: LoopCount,
    first: RunningLoop,
    start: impl Fn() -> F,
) {
    let mut first = Some(first);
    loop {
        let ended = {
            let _running = first.take().unwrap_or_else(|| running.count());
            AssertUnwindSafe(start()).catch_unwind().await
        };
        if ended.is_ok() || stop.is_cancelled() {
            return;
        }
        metrics::counter!("worker_loop_restarts_total", "loop" => name).increment(1);
        tokio::select! {
            () = tokio::time::sleep(RESTART_DELAY) => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_loop_that_panics_is_started_again() {
        let (stop, running, starts) = (CancellationToken::new(), LoopCount::default(), Arc::new(AtomicUsize::new(0)));
        running.expect_loops();
        assert!(!running.is_alive(), "no loop runs yet");
        let (seen, stopping, alive) = (starts.clone(), stop.clone(), running.clone());
        let one = move || {
            let (start, stop, alive) = (seen.fetch_add(1, Ordering::SeqCst), stopping.clone(), alive.clone());
            async move {
                assert!(alive.is_alive());
                assert!(start > 0, "the first run panics");
                stop.cancel();
            }
        };
        supervise("test", stop, running.clone(), one).await;
        assert_eq!(starts.load(Ordering::SeqCst), 2);
        assert!(!running.is_alive(), "no loop runs any more");
    }
}
