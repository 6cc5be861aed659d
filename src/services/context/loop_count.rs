//! Counts the background loops that run in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The number of running loops of one kind, and whether any should run. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct LoopCount(Arc<LoopState>);

#[derive(Debug, Default)]
struct LoopState {
    expected: AtomicBool,
    running: AtomicUsize,
}

impl LoopCount {
    /// Declares that loops of this kind should run in this process.
    pub fn expect_loops(&self) {
        self.0.expected.store(true, Ordering::Relaxed);
    }

    /// Counts a loop as running until the returned guard is dropped.
    pub fn count(&self) -> RunningLoop {
        self.0.running.fetch_add(1, Ordering::Relaxed);
        RunningLoop(self.0.clone())
    }

    /// Returns whether a loop is running, or none should.
    pub fn is_alive(&self) -> bool {
        !self.0.expected.load(Ordering::Relaxed) || self.0.running.load(Ordering::Relaxed) > 0
    }
}

/// Counts a loop as running until it is dropped.
#[derive(Debug)]
pub struct RunningLoop(Arc<LoopState>);

impl Drop for RunningLoop {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
