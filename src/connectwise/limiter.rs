//! Rate limiting and circuit breaking for one ConnectWise connection: limits requests per minute and in parallel, obeys
//! `Retry-After`, and sends nothing for a while after repeated failures.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::BoxFuture;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::error::CwError;
use crate::domain::clock::{Clock, Timestamp};

/// Number of consecutive failures that opens the circuit.
const FAILURES_TO_OPEN_CIRCUIT: u32 = 5;
/// How long the circuit stays open before requests are sent again, in seconds.
const CIRCUIT_OPEN_SECONDS: i64 = 30;

/// The state of the circuit breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CircuitStatus {
    /// Requests are sent.
    Closed,
    /// Requests are not sent, after repeated failures.
    Open {
        /// When requests are sent again.
        until: Timestamp,
        /// The last failure.
        cause: String,
    },
}

#[derive(Debug, Default)]
struct Circuit {
    failures: u32,
    open_until: Option<Timestamp>,
    /// Whether a request was let through to find out whether ConnectWise works again.
    trying: bool,
    cause: String,
}

/// The decision of the circuit breaker about a request.
enum Gate {
    Pass,
    Open(Duration),
    /// Another request is testing whether ConnectWise works again.
    WaitForOther,
}

/// The rate of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The steady rate, in requests a minute.
    pub steady: NonZeroU32,
    /// Maximum number of requests in a burst after an idle time.
    pub burst: NonZeroU32,
}

impl RateLimit {
    /// Divides the budget between burst and steady rate, which add up: no 60 s get more than `per_minute` requests.
    pub fn of(per_minute: NonZeroU32) -> Self {
        let burst = NonZeroU32::MIN.saturating_add((per_minute.get() / 20).saturating_sub(1));
        let steady = NonZeroU32::MIN.saturating_add((per_minute.get() - burst.get()).saturating_sub(1));
        Self { steady, burst }
    }

    /// Returns the time from one request to the next at the steady rate.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(60) / self.steady.get()
    }
}

/// Whether and when the shared budget admits a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Admitted after this wait.
    After(Duration),
    /// Rejected, because the wait would be longer than the caller allows.
    TooLate(Duration),
    /// Paused for this long, because ConnectWise responded to an earlier request with `Retry-After`.
    Paused(Duration),
}

/// The request budget of one connection that several processes use: requests per minute in total, and one
/// `Retry-After` for all. If the budget cannot be read, no request is sent; the error contains the reason.
pub trait SharedBudget: Send + Sync {
    /// Reserves the next request, unless it would have to wait longer than `max_wait`.
    fn reserve(&self, max_wait: Duration) -> BoxFuture<'_, Result<Admission, String>>;
    /// Pauses the requests of all processes for `wait`.
    fn pause(&self, wait: Duration) -> BoxFuture<'_, ()>;
}

/// Where requests are counted.
enum Rate {
    /// In this process, the only one that uses the connection.
    Own(DefaultDirectRateLimiter),
    /// In all processes together.
    Shared(Arc<dyn SharedBudget>),
}

/// One connection's budget, shared by everything that uses the connection.
pub(super) struct RequestLimiter {
    rate: Rate,
    parallel: Semaphore,
    /// Set by a `Retry-After`: no request is sent before then.
    paused_until: Mutex<Option<Instant>>,
    circuit: Mutex<Circuit>,
    /// Notified of each outcome.
    tried: Notify,
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
            tried: Notify::new(),
            clock,
        }
    }

    /// Waits until a request may be sent. Fails at once if that would take longer than the caller allows.
    pub(super) async fn acquire(&self, max_wait: Duration) -> Result<SemaphorePermit<'_>, CwError> {
        loop {
            // First, so that nothing is reserved for a request that is not sent.
            self.pass_circuit(max_wait, false).await?;
            // A request waits for a Retry-After without a permit, so that a request that must not wait fails at once.
            // The loop is needed because the pause may be extended meanwhile.
            while let Some(wait) = self.pause() {
                wait_for(wait, max_wait).await?;
            }
            let permit = self.parallel.acquire().await.map_err(|_| CwError::Unavailable("shutting down".to_owned()))?;
            if self.pause().is_some() {
                continue;
            }
            match &self.rate {
                Rate::Own(rate) => rate.until_ready().await,
                Rate::Shared(budget) => match budget.reserve(max_wait).await.map_err(CwError::Unavailable)? {
                    Admission::Paused(wait) => self.pause_for(wait),
                    Admission::TooLate(wait) => {
                        // Other requests of this process need not ask before then.
                        self.pause_for(wait);
                        return Err(CwError::Throttled(wait));
                    }
                    // Even a sleep of no time takes until the next tick of the timer, a millisecond or two.
                    Admission::After(Duration::ZERO) => {}
                    Admission::After(wait) => tokio::time::sleep(wait).await,
                },
            }
            // In the meantime another request may have received a `Retry-After`, or be trying a half-open circuit.
            if self.pause().is_none() && self.pass_circuit(Duration::ZERO, true).await.is_ok() {
                return Ok(permit);
            }
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The clock by which requests are late.
    pub(super) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    pub(super) fn pause(&self) -> Option<Duration> {
        let until = (*lock(&self.paused_until))?;
        until.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero())
    }

    fn pause_for(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut paused = lock(&self.paused_until);
        *paused = Some(paused.map_or(until, |before| before.max(until)));
    }

    /// Fails while the circuit is open. While it is half open, one trial request is sent, and the others wait for its
    /// outcome. `sends`: whether the caller will send its request now, and may therefore be the trial.
    async fn pass_circuit(&self, max_wait: Duration, sends: bool) -> Result<(), CwError> {
        loop {
            let tried = self.tried.notified();
            tokio::pin!(tried);
            // From here on, no outcome is missed.
            tried.as_mut().enable();
            match self.gate(sends) {
                Gate::Pass => return Ok(()),
                Gate::Open(wait) => return Err(CwError::CircuitOpen(wait)),
                Gate::WaitForOther if tokio::time::timeout(max_wait, tried).await.is_ok() => {}
                Gate::WaitForOther => return Err(CwError::CircuitOpen(max_wait)),
            }
        }
    }

    fn gate(&self, sends: bool) -> Gate {
        let mut circuit = lock(&self.circuit);
        let Some(until) = circuit.open_until else { return Gate::Pass };
        let now = self.clock.now();
        if now < until {
            let wait = (until - now).to_std().unwrap_or_default();
            return if circuit.trying { Gate::WaitForOther } else { Gate::Open(wait) };
        }
        if !sends {
            return Gate::Pass;
        }
        // If this request has no outcome, because its caller gave up, another one is sent after the same time.
        circuit.open_until = Some(now + TimeDelta::seconds(CIRCUIT_OPEN_SECONDS));
        circuit.trying = true;
        Gate::Pass
    }

    /// Records the outcome of a request.
    pub(super) async fn record_outcome(&self, error: Option<&CwError>) {
        if let Some(CwError::Throttled(wait)) = error {
            self.pause_for(*wait);
            if let Rate::Shared(budget) = &self.rate {
                budget.pause(*wait).await;
            }
        }
        let mut circuit = lock(&self.circuit);
        let was_trying = std::mem::take(&mut circuit.trying);
        self.tried.notify_waiters();
        match error {
            Some(error) if error.counts_against_circuit() => {
                circuit.failures += 1;
                if circuit.failures >= FAILURES_TO_OPEN_CIRCUIT {
                    circuit.open_until = Some(self.clock.now() + TimeDelta::seconds(CIRCUIT_OPEN_SECONDS));
                    circuit.cause = error.to_string();
                }
            }
            // A request that was not sent says nothing: the next one tries.
            Some(CwError::DeadlineExceeded) if was_trying => circuit.open_until = Some(self.clock.now()),
            Some(CwError::DeadlineExceeded) => {}
            // A `Retry-After` says nothing about failures before it, but it is a response.
            Some(CwError::Throttled(_)) if !was_trying => {}
            // Any other response shows that ConnectWise is up.
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

/// Waits, or fails at once if that would take longer than the caller allows.
async fn wait_for(wait: Duration, max_wait: Duration) -> Result<(), CwError> {
    if wait > max_wait {
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

    /// After 30 s one request finds out whether ConnectWise works again; the others wait for it.
    #[tokio::test]
    async fn one_request_tries_a_circuit_that_is_half_open() {
        let limiter = limiter();
        let acquire = async |max_wait| limiter.acquire(max_wait).await.map(drop);
        let (at_once, patient) = (Duration::ZERO, Duration::from_secs(60));
        let down = CwError::Unavailable("down".to_owned());
        for _ in 0..FAILURES_TO_OPEN_CIRCUIT {
            acquire(at_once).await.unwrap();
            limiter.record_outcome(Some(&down)).await;
        }
        assert!(matches!(acquire(patient).await, Err(CwError::CircuitOpen(_))), "open");
        limiter.clock.advance(TimeDelta::seconds(CIRCUIT_OPEN_SECONDS));
        acquire(at_once).await.unwrap();
        assert!(matches!(acquire(at_once).await, Err(CwError::CircuitOpen(_))), "the first has no response yet");
        let (second, ()) = tokio::join!(acquire(patient), limiter.record_outcome(Some(&down)));
        assert!(matches!(second, Err(CwError::CircuitOpen(_))), "ConnectWise is still down");
        limiter.clock.advance(TimeDelta::seconds(CIRCUIT_OPEN_SECONDS));
        acquire(at_once).await.unwrap();
        limiter.record_outcome(Some(&CwError::DeadlineExceeded)).await;
        acquire(at_once).await.unwrap();
        assert!(
            matches!(acquire(at_once).await, Err(CwError::CircuitOpen(_))),
            "nothing was sent, so another one tries"
        );
        let (second, ()) = tokio::join!(acquire(patient), limiter.record_outcome(None));
        second.unwrap();
        acquire(at_once).await.unwrap();
    }

    /// While a job waits for a `Retry-After`, an interactive request fails at once instead of queueing behind it.
    #[tokio::test]
    async fn waiting_for_retry_after_holds_no_permit() {
        let limiter = Arc::new(limiter());
        limiter.record_outcome(Some(&CwError::Throttled(Duration::from_secs(600)))).await;
        let waiting = limiter.clone();
        let job = tokio::spawn(async move { waiting.acquire(Duration::from_secs(3_600)).await.map(drop) });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!job.is_finished() && limiter.parallel.available_permits() == 1, "the job waits, and holds no permit");
        let rejected = limiter.acquire(Duration::from_secs(5)).await.map(drop).unwrap_err();
        assert!(matches!(rejected, CwError::Throttled(wait) if wait > Duration::from_secs(500)), "{rejected}");
        job.abort();
    }
}
