//! `/push-jobs/{id}/events`: a job's progress as server-sent events.

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
use crate::http::kit::problem::{ApiResult, Errors};
use crate::services::AppContext;
use crate::services::push;
use crate::services::push::Progress;

/// A comment is sent after this time without an event, to keep the connection open.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Watch a push job
///
/// Server-sent events: `progress` with the push job as JSON whenever it changed, then `end` with its final state. The
/// stream stays open while the job waits for approval or for ConnectWise. A comment every 15 seconds keeps the
/// connection open. The id of an event is the number of finished lines; with `Last-Event-ID` the stream continues
/// after it.
#[utoipa::path(
    tag = "push jobs",
    params(
        ("id" = String, Path, description = "The push job"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event seen"),
    ),
    responses((status = 200, content_type = "text/event-stream", body = String,
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
    let state = Watching { progress, seen, first: true, ended: false, stop: ctx.stop.clone() };
    let events = stream::unfold(state, |mut state| async move {
        let event = state.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(event)), state))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-cache"))
        // Compression would hold events back until a block is full.
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
            // The watched job tells of every change; only what was seen before a reconnection is left out.
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
