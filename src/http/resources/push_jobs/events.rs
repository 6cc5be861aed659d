//! `/push-jobs/{id}/events`: the progress of a push job as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_ENCODING};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, get, web};
use futures_util::stream;
use tokio::sync::watch;

use super::PushJob;
use crate::domain::ids::PushJobId;
use crate::http::kit::auth::Caller;
use crate::http::kit::params::LastEventIdParam;
use crate::http::kit::problem::{ApiResult, Errors};
use crate::services::AppContext;
use crate::services::push;
use crate::services::push::Progress;

/// How long the stream is silent before a comment is sent to keep the connection open.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Watch a push job
///
/// Returns a stream of server-sent events. The data of each event is the push job as JSON, with the schema `PushJob`.
///
/// - `progress` is sent at once, and then whenever the job's state, detail or line counts change.
/// - `end` is sent when the job has ended, and the stream ends.
///
/// The stream stays open while the job waits for approval or for ConnectWise; after 15 seconds without an event, a
/// comment keeps the connection open. It also ends without `end` when the service stops: reconnect. The id of an event
/// is the number of finished lines; an initial event whose id is the `Last-Event-ID` of the request is skipped. A
/// browser's `EventSource` cannot send the API key: use `fetch` and read the body as it arrives. A generated client
/// that reads a response to its end should get the job from time to time instead.
#[utoipa::path(
    tag = "push jobs",
    params(
        ("id" = String, Path, description = "The push job"),
        LastEventIdParam,
    ),
    responses((status = 200, description = "The stream of events", content_type = "text/event-stream", body = String,
        example = "event: progress\nid: 12\ndata: {\"id\":\"…\",\"state\":\"running\"}\n\n"), Errors)
)]
#[get("/push-jobs/{id}/events")]
pub async fn watch_push_job(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    req: HttpRequest,
) -> ApiResult {
    let id = PushJobId::from(id.into_inner());
    let progress = push::subscribe(&ctx, &caller.tenant, &id).await?;
    let seen = req.headers().get("Last-Event-ID").and_then(|id| id.to_str().ok()?.parse::<i64>().ok());
    let state = Watching { progress, seen, first: true, ended: false, stop: ctx.shutdown.clone() };
    let events = stream::unfold(state, |mut state| async move {
        let event = state.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(event)), state))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-cache"))
        // Compression would delay events until a block is full.
        .insert_header((CONTENT_ENCODING, "identity"))
        .streaming(events))
}

struct Watching {
    progress: watch::Receiver<Progress>,
    seen: Option<i64>,
    first: bool,
    ended: bool,
    stop: tokio_util::sync::CancellationToken,
}

impl Watching {
    async fn next(&mut self) -> Option<String> {
        if self.ended {
            return None;
        }
        loop {
            if !self.first {
                tokio::select! {
                    changed = self.progress.changed() => changed.ok()?,
                    () = tokio::time::sleep(HEARTBEAT) => return Some(": still here\n\n".to_owned()),
                    () = self.stop.cancelled() => return None,
                }
            }
            let now = self.progress.borrow_and_update().clone();
            let done = now.done();
            self.ended = now.job.state.is_final();
            // Every change is sent. Only the first event is left out, if the client had it before it reconnected.
            let known = std::mem::take(&mut self.first) && self.seen == Some(done);
            if self.ended || !known {
                return Some(event(&now, done));
            }
        }
    }
}

fn event(progress: &Progress, id: i64) -> String {
    let name = if progress.job.state.is_final() { "end" } else { "progress" };
    let data = serde_json::to_string(&PushJob::from(progress)).unwrap_or_default();
    format!("event: {name}\nid: {id}\ndata: {data}\n\n")
}
