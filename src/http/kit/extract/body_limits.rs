//! Limits for reading request bodies: the time, the minimum rate, and the memory of all bodies of the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::Bytes;
use actix_web::{HttpMessage, HttpRequest, web};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::domain::ids::TenantId;
use crate::domain::{FieldCode, FieldError};
use crate::http::kit::problem::{ApiError, ApiResult};
use crate::http::kit::problem_code::RequestCode;
use crate::services::Actor;

/// Maximum size of a body that any operation accepts, in bytes.
pub const LARGEST_BODY: usize = 8 * 1024 * 1024;
/// Minimum rate at which a body must arrive, in bytes per second.
const MIN_BYTES_PER_SECOND: f64 = 8.0 * 1024.0;
/// How long a body may be slower than that at the start, and how long it may pause.
const GRACE_PERIOD: Duration = Duration::from_secs(10);
/// Number of bytes of each body that are not charged to the memory limits, so that small bodies are read however many
/// large ones there are.
const FREE_BYTES: usize = 16 * 1024;

/// The limits that all bodies of a process share.
#[derive(Debug, Clone)]
pub struct BodyLimits {
    /// How long one body may take to arrive.
    time: Duration,
    /// The memory that is left for bodies, in bytes.
    left: Arc<Semaphore>,
    /// The memory that is left for the bodies of each tenant that is sending one.
    left_of_tenant: Arc<Mutex<HashMap<TenantId, Arc<Semaphore>>>>,
    /// The memory for the bodies of one tenant, in bytes: a quarter of all, but at least one body of the largest size.
    share: usize,
}

/// Memory that is reserved for a body until this is dropped.
#[derive(Debug, Default)]
struct ReservedMemory {
    of_all: Option<OwnedSemaphorePermit>,
    of_tenant: Option<OwnedSemaphorePermit>,
}

impl BodyLimits {
    /// Limits the time that one body may take to arrive, and the memory of all bodies together, in bytes.
    pub fn new(time: Duration, memory: usize) -> Self {
        let memory = memory.min(Semaphore::MAX_PERMITS);
        let share = (memory / 4).max(LARGEST_BODY);
        Self { time, left: Arc::new(Semaphore::new(memory)), left_of_tenant: Arc::default(), share }
    }

    /// The memory that is left for a tenant's bodies.
    fn share_of(&self, tenant: &TenantId) -> Arc<Semaphore> {
        let mut shares = self.left_of_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        // A share that no request uses is complete again and need not be kept.
        shares.retain(|_, share| Arc::strong_count(share) > 1);
        shares.entry(tenant.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.share))).clone()
    }
}

/// The bytes of a body, with the memory that is reserved for them.
#[derive(Debug)]
pub(in crate::http::kit) struct BodyBytes {
    pub(in crate::http::kit) bytes: Bytes,
    _taken: ReservedMemory,
}

/// Reads a body of at most `limit` bytes.
pub(in crate::http::kit) async fn read(req: &HttpRequest, payload: &mut Payload, limit: usize) -> ApiResult<BodyBytes> {
    let declared = req.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let limits = req.app_data::<web::Data<BodyLimits>>().map(|limits| BodyLimits::clone(limits));
    let limits = limits.unwrap_or_else(|| BodyLimits::new(GRACE_PERIOD, limit));
    let share = req.extensions().get::<Actor>().map(|actor| limits.share_of(&actor.tenant));
    let (began, mut last_came) = (Instant::now(), Instant::now());
    let (mut bytes, mut taken) = (Vec::new(), ReservedMemory::default());
    loop {
        // Each byte received extends the grace period, so that after it the minimum rate holds.
        let earned =
            Duration::from_secs_f64(f64::from(u32::try_from(bytes.len()).unwrap_or(u32::MAX)) / MIN_BYTES_PER_SECOND);
        let until = (began + limits.time.min(GRACE_PERIOD + earned)).min(last_came + GRACE_PERIOD);
        if Instant::now() >= until {
            return Err(too_slow(&limits));
        }
        let next = tokio::time::timeout_at(until, payload.next()).await.map_err(|_| too_slow(&limits))?;
        let Some(chunk) = next else { break };
        let chunk = chunk.map_err(|_| incomplete())?;
        last_came = Instant::now();
        let needed = bytes.len() + chunk.len();
        if needed > limit {
            return Err(too_large(limit));
        }
        if needed > bytes.capacity() {
            let wanted = needed.max(bytes.capacity() * 2).max(FREE_BYTES).min(limit);
            let more = wanted.saturating_sub(bytes.capacity().max(FREE_BYTES));
            take(&limits.left, more, &mut taken.of_all)?;
            if let Some(share) = &share {
                take(share, more, &mut taken.of_tenant)?;
            }
            bytes.reserve_exact(wanted - bytes.len());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(BodyBytes { bytes: bytes.into(), _taken: taken })
}

/// Reserves memory, or fails at once: bodies that wait while they hold memory could wait for each other forever.
fn take(left: &Arc<Semaphore>, bytes: usize, taken: &mut Option<OwnedSemaphorePermit>) -> ApiResult<()> {
    let more = left.clone().try_acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX)).map_err(|_| busy())?;
    match taken {
        Some(taken) => taken.merge(more),
        None => *taken = Some(more),
    }
    Ok(())
}

fn too_large(limit: usize) -> ApiError {
    let detail = format!("the body must be at most {limit} bytes long");
    ApiError::Http(RequestCode::TooLarge, detail)
}

fn too_slow(limits: &BodyLimits) -> ApiError {
    let detail = format!(
        "the body arrived too slowly: it may take {} s, at {} KiB per second or more, without a pause of {} s",
        limits.time.as_secs(),
        MIN_BYTES_PER_SECOND / 1024.0,
        GRACE_PERIOD.as_secs()
    );
    ApiError::Http(RequestCode::BodyTooSlow, detail)
}

fn busy() -> ApiError {
    let detail = "too many large bodies are being read; retry shortly".to_owned();
    ApiError::Http(RequestCode::Busy, detail)
}

fn incomplete() -> ApiError {
    let error = FieldError::new("", FieldCode::Malformed, "the body ended before it was complete");
    ApiError::Malformed(vec![error])
}
