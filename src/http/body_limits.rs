//! What reading a request's body may cost: time, a least rate, and memory for all bodies of the process together.

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, web};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::problem::{ApiError, ApiResult};
use super::server::HttpSettings;
use crate::domain::FieldError;

/// The largest body that any operation takes, in bytes.
pub const LARGEST_BODY: usize = 8 * 1024 * 1024;
/// A body that comes more slowly than this, in bytes a second, is given up.
const LEAST_RATE: f64 = 8.0 * 1024.0;
/// For how long a body may come more slowly than that at first.
const GRACE: Duration = Duration::from_secs(10);
/// The first piece of memory for a body.
const FIRST_PIECE: usize = 16 * 1024;

/// What all bodies of a process share.
#[derive(Debug, Clone)]
pub struct BodyLimits {
    /// How long one body may take.
    time: Duration,
    /// The memory, in bytes, that is left for bodies.
    memory: Arc<Semaphore>,
}

impl BodyLimits {
    /// Limits by the time that one body may take, and by the memory, in bytes, that all together may take.
    pub fn new(time: Duration, memory: usize) -> Self {
        Self { time, memory: Arc::new(Semaphore::new(memory.min(Semaphore::MAX_PERMITS))) }
    }
}

/// A body's bytes, and the memory that they take until they are dropped.
#[derive(Debug)]
pub(super) struct BodyBytes {
    pub(super) bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(req: &HttpRequest, payload: &mut Payload, limit: usize) -> ApiResult<BodyBytes> {
    let declared = req.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let limits = req.app_data::<web::Data<HttpSettings>>().map(|settings| settings.body_limits.clone());
    let limits = limits.unwrap_or_else(|| BodyLimits::new(Duration::from_secs(60), limit));
    let began = Instant::now();
    let (mut bytes, mut memory) = (Vec::new(), None);
    loop {
        // Beyond the grace, what has come so far must have earned the time that has passed.
        let earned = Duration::from_secs_f64(f64::from(u32::try_from(bytes.len()).unwrap_or(u32::MAX)) / LEAST_RATE);
        let until = began + limits.time.min(GRACE + earned);
        if Instant::now() >= until {
            return Err(too_slow());
        }
        let Some(chunk) = tokio::time::timeout_at(until, payload.next()).await.map_err(|_| too_slow())? else { break };
        let chunk = chunk.map_err(|_| incomplete())?;
        let needed = bytes.len() + chunk.len();
        if needed > limit {
            return Err(too_large(limit));
        }
        if needed > bytes.capacity() {
            let wanted = needed.max(bytes.capacity() * 2).max(FIRST_PIECE).min(limit);
            take_memory(&limits.memory, wanted - bytes.capacity(), &mut memory)?;
            bytes.reserve_exact(wanted - bytes.len());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(BodyBytes { bytes: bytes.into(), _memory: memory })
}

/// Takes memory from what is left for all, or fails at once: whoever waited with a part in hand could wait for ever.
fn take_memory(left: &Arc<Semaphore>, bytes: usize, taken: &mut Option<OwnedSemaphorePermit>) -> ApiResult<()> {
    let more = left.clone().try_acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX)).map_err(|_| busy())?;
    match taken {
        Some(taken) => taken.merge(more),
        None => *taken = Some(more),
    }
    Ok(())
}

fn too_large(limit: usize) -> ApiError {
    let detail = format!("the body may have at most {limit} bytes");
    ApiError::Http(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Content too large", detail)
}

fn too_slow() -> ApiError {
    let detail = "the body did not arrive in time: send it at once, or in smaller batches".to_owned();
    ApiError::Http(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "Request timeout", detail)
}

fn busy() -> ApiError {
    let detail = "too many large bodies are being read: try again shortly".to_owned();
    ApiError::Busy(detail)
}

fn incomplete() -> ApiError {
    let error = FieldError::new("", "malformed", "the body ended before it was complete");
    ApiError::Malformed(vec![error])
}
