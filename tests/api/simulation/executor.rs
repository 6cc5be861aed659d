//! Polls tasks one at a time, in a random order that a seed decides.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::sync::Notify;

/// How long a polled task may take to be ready again before another is chosen. Most waits (a query, a request to the
/// sandbox) are shorter, so the same seed makes nearly the same choices.
const SETTLE: Duration = Duration::from_millis(4);

struct Flag {
    ready: AtomicBool,
    any: Arc<Notify>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.ready.store(true, Ordering::SeqCst);
        self.any.notify_one();
    }
}

/// Who runs a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The worker with this number, of the replica with this number.
    Worker(usize, usize),
    /// The schedule of the replica with this number.
    Schedule(usize),
    /// A person who waits for a response of the replica with this number.
    Person(usize),
}

impl Role {
    pub fn replica(self) -> usize {
        match self {
            Self::Worker(replica, _) | Self::Schedule(replica) | Self::Person(replica) => replica,
        }
    }

    pub fn is_person(self) -> bool {
        matches!(self, Self::Person(_))
    }
}

struct Task {
    role: Role,
    future: Pin<Box<dyn Future<Output = ()>>>,
    flag: Arc<Flag>,
}

/// The tasks that have begun but not ended.
#[derive(Default)]
pub struct Tasks {
    list: Vec<Task>,
    any: Arc<Notify>,
}

impl Tasks {
    pub fn start(&mut self, role: Role, future: impl Future<Output = ()> + 'static) {
        let flag = Arc::new(Flag { ready: AtomicBool::new(true), any: self.any.clone() });
        self.list.push(Task { role, future: Box::pin(future), flag });
    }

    pub fn count(&self, of: impl Fn(Role) -> bool) -> usize {
        self.list.iter().filter(|task| of(task.role)).count()
    }

    /// Drops tasks at any step, as the end of their process or a panic would.
    pub fn kill(&mut self, of: impl Fn(Role) -> bool) {
        self.list.retain(|task| !of(task.role));
    }

    /// Polls one of the ready tasks, chosen at random.
    pub async fn turn(&mut self, rng: &mut fastrand::Rng, may_run: impl Fn(Role) -> bool) {
        let is_ready = |task: &Task| task.flag.ready.load(Ordering::SeqCst) && may_run(task.role);
        if !self.list.iter().any(|task| may_run(task.role)) {
            return;
        }
        let ready: Vec<usize> = (0..self.list.len()).filter(|index| is_ready(&self.list[*index])).collect();
        if ready.is_empty() {
            let _ = tokio::time::timeout(SETTLE, self.any.notified()).await;
            return;
        }
        let index = ready[rng.usize(..ready.len())];
        let task = &mut self.list[index];
        task.flag.ready.store(false, Ordering::SeqCst);
        let waker = Waker::from(task.flag.clone());
        match task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => drop(self.list.remove(index)),
            Poll::Pending => self.settle(index).await,
        }
    }

    async fn settle(&self, index: usize) {
        let flag = &self.list[index].flag;
        let ready = async {
            while !flag.ready.load(Ordering::SeqCst) {
                self.any.notified().await;
            }
        };
        let _ = tokio::time::timeout(SETTLE, ready).await;
    }
}
