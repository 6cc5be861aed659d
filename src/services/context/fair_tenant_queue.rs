//! Decides which tenant this process works for next: the one that has waited longest, so a large tenant never makes a
//! small one wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ids::TenantId;

/// How long the result of a poll is used. Other processes add work, and lines become due.
const POLL_VALID_FOR: Duration = Duration::from_secs(1);

/// Number of turns after which a tenant's last turn is forgotten.
const TURNS_REMEMBERED: u64 = 100_000;

#[derive(Default)]
struct State {
    /// The tenants that had due lines at the last poll, except those found without any since.
    waiting: Vec<TenantId>,
    /// The time of the last poll; `None` if there is new work since.
    polled_at: Option<Instant>,
    /// The number of claims that this process is working on, by tenant.
    active: HashMap<TenantId, usize>,
    /// The last turn of each tenant.
    served: HashMap<TenantId, u64>,
    turns: u64,
}

/// The turns of tenants, shared by all workers of this process.
#[derive(Default)]
pub struct FairTenantQueue(Mutex<State>);

/// A tenant's turn. It ends when this is dropped.
pub struct Turn {
    turns: Arc<FairTenantQueue>,
    tenant: TenantId,
}

impl FairTenantQueue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to poll for work before the next turn.
    pub fn needs_poll(&self) -> bool {
        let state = self.lock();
        state.polled_at.is_none_or(|at| at.elapsed() >= POLL_VALID_FOR) || state.waiting.is_empty()
    }

    /// Makes the next turn start with a poll, because there is new work.
    pub fn poll_again(&self) {
        self.lock().polled_at = None;
    }

    /// Stores the result of a poll: the tenants with due lines.
    pub fn set_waiting(&self, tenants: Vec<TenantId>) {
        let mut state = self.lock();
        // A forgotten tenant goes first once, so only tenants that have been idle for a long time are forgotten.
        let State { served, turns, .. } = &mut *state;
        served.retain(|_, turn| *turns - *turn < TURNS_REMEMBERED);
        state.waiting = tenants;
        state.polled_at = Some(Instant::now());
    }

    /// Gives a turn to the waiting tenant that was served least recently. Skips tenants with `max_parallel` claims in
    /// this process, and those that `may_run` excludes.
    pub fn next(self: &Arc<Self>, max_parallel: usize, may_run: impl Fn(&TenantId) -> bool) -> Option<Turn> {
        let mut state = self.lock();
        let is_free = |tenant: &&TenantId| state.active.get(*tenant).is_none_or(|active| *active < max_parallel);
        let free = state.waiting.iter().filter(is_free).filter(|tenant| may_run(tenant));
        let tenant = free.min_by_key(|tenant| state.served.get(*tenant).copied().unwrap_or_default())?.clone();
        state.turns += 1;
        let turn = state.turns;
        state.served.insert(tenant.clone(), turn);
        *state.active.entry(tenant.clone()).or_default() += 1;
        Some(Turn { turns: self.clone(), tenant })
    }
}

impl Turn {
    /// The tenant whose turn it is.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Notes that the tenant has nothing to claim until the next poll.
    pub fn nothing_due(&self) {
        self.turns.lock().waiting.retain(|tenant| *tenant != self.tenant);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        if let Some(active) = state.active.get_mut(&self.tenant) {
            *active -= 1;
            if *active == 0 {
                state.active.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::from(name.to_owned())
    }

    fn names(turns: &[Option<Turn>]) -> Vec<Option<&str>> {
        turns.iter().map(|turn| turn.as_ref().map(|turn| turn.tenant().as_str())).collect()
    }

    #[test]
    fn tenants_take_turns_and_none_takes_all() {
        let turns = Arc::new(FairTenantQueue::default());
        assert!(turns.needs_poll());
        turns.set_waiting(vec![tenant("a"), tenant("b")]);
        let given: Vec<Option<Turn>> = (0..5).map(|_| turns.next(2, |_| true)).collect();
        assert_eq!(names(&given), [Some("a"), Some("b"), Some("a"), Some("b"), None], "at most two each");
        drop(given);
        let next = turns.next(2, |tenant| tenant.as_str() != "a");
        assert_eq!(next.as_ref().map(|turn| turn.tenant().as_str()), Some("b"), "a may not run");
    }

    #[test]
    fn a_tenant_with_new_work_comes_before_those_that_were_served() {
        let turns = Arc::new(FairTenantQueue::default());
        turns.set_waiting(vec![tenant("large")]);
        for _ in 0..9 {
            assert!(turns.next(1, |_| true).is_some());
        }
        turns.poll_again();
        assert!(turns.needs_poll());
        turns.set_waiting(vec![tenant("large"), tenant("small")]);
        let turn = turns.next(1, |_| true).unwrap();
        assert_eq!(turn.tenant().as_str(), "small");
        turn.nothing_due();
        assert_eq!(turns.next(1, |_| true).unwrap().tenant().as_str(), "large");
    }
}
