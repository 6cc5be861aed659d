//! Rate limiting and circuit breaking for one ConnectWise connection: requests a minute and in parallel,
//! `Retry-After`, and leaving it alone for a while when it keeps failing.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::BoxFuture;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant as Ticks;

use super::error::CwError;
use crate::domain::clock::{Clock, Instant};

/// After this many failures in a row the circuit opens.
const FAILURES_TO_OPEN_CIRCUIT: u32 = 5;
/// How long it stays open before one request may try again, in seconds.
const CIRCUIT_OPEN_SECONDS: i64 = 30;

/// Whether requests are let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CircuitStatus {
    /// They are.
    Closed,
    /// They are not, after repeated failures; one may try again at this time.
    Open {
        /// When.
        until: Instant,
        /// The last failure.
        cause: String,
    },
}

#[derive(Debug, Default)]
struct Circuit {
    failures: u32,
    open_until: Option<Instant>,
    cause: String,
}

/// The rate of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The steady rate, in requests a minute.
    pub steady: NonZeroU32,
    /// Maximum burst after an idle time.
    pub burst: NonZeroU32,
}

impl RateLimit {
    /// A burst comes on top of the steady rate, so the two share the minute's budget: no 60 s see more than it.
    pub fn of(per_minute: NonZeroU32) -> Self {
        let burst = NonZeroU32::MIN.saturating_add((per_minute.get() / 20).saturating_sub(1));
        let steady = NonZeroU32::MIN.saturating_add((per_minute.get() - burst.get()).saturating_sub(1));
        Self { steady, burst }
    }

    /// The time from one request to the next at the steady rate.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(60) / self.steady.get()
    }
}

/// A place in the queue that several processes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// After this wait.
    After(Duration),
    /// Rejected, because the wait would be longer than the policy allows.
    TooLate(Duration),
    /// Not now: ConnectWise answered an earlier request with `Retry-After`, for this long.
    Held(Duration),
}

/// The budget of one connection where several processes use it: requests a minute in all, and one `Retry-After` for
/// all. If the budget cannot be read, nothing is sent; the error says why.
pub trait SharedBudget: Send + Sync {
    /// Reserves the next request, if its wait is within the limit.
    fn turn(&self, policy: Duration) -> BoxFuture<'_, Result<Admission, String>>;
    /// Holds the requests of all processes.
    fn hold(&self, wait: Duration) -> BoxFuture<'_, ()>;
}

/// Where requests are counted.
enum Rate {
    /// This process, the only one.
    Own(DefaultDirectRateLimiter),
    /// All processes together.
    Shared(Arc<dyn SharedBudget>),
}

/// One connection's budget, shared by everything that uses the connection.
pub(super) struct RequestLimiter {
    rate: Rate,
    parallel: Semaphore,
    /// Set by a `Retry-After`: no request is sent before then.
    paused_until: Mutex<Option<Ticks>>,
    circuit: Mutex<Circuit>,
    clock: Clock,
}

impl RequestLimiter {
    pub(super) fn new(pace: RateLimit, parallel: usize, shared: Option<Arc<dyn SharedBudget>>, clock: Clock) -> Self {
        let own = || RateLimiter::direct(Quota::per_minute(pace.steady).allow_burst(pace.burst));
        Self {
            rate: shared.map_or_else(|| Rate::Own(own()), Rate::Shared),
            parallel: Semaphore::new(parallel.max(1)),
            paused_until: Mutex::new(None),
            circuit: Mutex::new(Circuit::default()),
            clock,
        }
    }

    /// Waits until a request may be sent. Fails at once if that would take longer than the policy allows.
    pub(super) async fn enter(&self, policy: Duration) -> Result<SemaphorePermit<'_>, CwError> {
        self.check_circuit()?;
        loop {
            // Nobody waits for a Retry-After with a permit in hand: those who won't wait must learn so at once. And it
            // may be prolonged meanwhile.
            while let Some(wait) = self.pause() {
                wait_for(wait, policy).await?;
            }
            let permit = self.parallel.acquire().await.map_err(|_| CwError::Unavailable("shutting down".to_owned()))?;
            if self.pause().is_some() {
                continue;
            }
            match &self.rate {
                Rate::Own(rate) => rate.until_ready().await,
                Rate::Shared(budget) => match budget.turn(policy).await.map_err(CwError::Unavailable)? {
                    Admission::Held(wait) => self.pause_for(wait),
                    Admission::TooLate(wait) => return Err(CwError::Throttled(wait)),
                    Admission::After(wait) => tokio::time::sleep(wait).await,
                },
            }
            // In the meantime another request may have been answered with `Retry-After`.
            if self.pause().is_none() {
                return Ok(permit);
            }
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    fn pause(&self) -> Option<Duration> {
        let until = (*lock(&self.paused_until))?;
        until.checked_duration_since(Ticks::now()).filter(|wait| !wait.is_zero())
    }

    fn pause_for(&self, wait: Duration) {
        let until = Ticks::now() + wait;
        let mut paused = lock(&self.paused_until);
        *paused = Some(paused.map_or(until, |before| before.max(until)));
    }

    fn check_circuit(&self) -> Result<(), CwError> {
        let mut circuit = lock(&self.circuit);
        let Some(until) = circuit.open_until else { return Ok(()) };
        let now = self.clock.now();
        if now < until {
            return Err(CwError::CircuitOpen((until - now).to_std().unwrap_or_default()));
        }
        // Half open: requests are let through again, and the first failure closes the door at once.
        circuit.open_until = None;
        circuit.failures = FAILURES_TO_OPEN_CIRCUIT - 1;
        Ok(())
    }

    /// Records the outcome of a request.
    pub(super) async fn note(&self, error: Option<&CwError>) {
        if let Some(CwError::Throttled(wait)) = error {
            self.pause_for(*wait);
            if let Rate::Shared(budget) = &self.rate {
                budget.hold(*wait).await;
            }
        }
        let mut circuit = lock(&self.circuit);
        match error {
            Some(error) if error.counts_against_circuit() => {
                circuit.failures += 1;
                if circuit.failures >= FAILURES_TO_OPEN_CIRCUIT {
                    circuit.open_until = Some(self.clock.now() + TimeDelta::seconds(CIRCUIT_OPEN_SECONDS));
                    circuit.cause = error.to_string();
                }
            }
            // A `Retry-After` says nothing about health; any other response shows that ConnectWise is up.
            Some(CwError::Throttled(_)) => {}
            _ => *circuit = Circuit::default(),
        }
    }

    pub(super) fn status(&self) -> CircuitStatus {
        let circuit = lock(&self.circuit);
        match circuit.open_until {
            Some(until) => CircuitStatus::Open { until, cause: circuit.cause.clone() },
            None => CircuitStatus::Closed,
        }
    }
}

/// Waits, unless that would take longer than the policy allows.
async fn wait_for(wait: Duration, policy: Duration) -> Result<(), CwError> {
    if wait > policy {
        return Err(CwError::Throttled(wait));
    }
    tokio::time::sleep(wait).await;
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    fn limiter() -> RequestLimiter {
        let clock = Clock::fixed(chrono::DateTime::<Utc>::UNIX_EPOCH);
        RequestLimiter::new(RateLimit::of(NonZeroU32::MIN.saturating_add(60_000)), 1, None, clock)
    }

    /// While a job waits for a `Retry-After`, an interactive request fails at once instead of queueing behind it.
    #[tokio::test]
    async fn nobody_waits_for_a_retry_after_with_a_permit_in_hand() {
        let limiter = Arc::new(limiter());
        limiter.note(Some(&CwError::Throttled(Duration::from_secs(600)))).await;
        let waiting = limiter.clone();
        let job = tokio::spawn(async move { waiting.enter(Duration::from_secs(3_600)).await.map(drop) });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!job.is_finished() && limiter.parallel.available_permits() == 1, "it waits, and holds no permit");
        let refused = limiter.enter(Duration::from_secs(5)).await.map(drop).unwrap_err();
        assert!(matches!(refused, CwError::Throttled(wait) if wait > Duration::from_secs(500)), "{refused}");
        job.abort();
    }
}
