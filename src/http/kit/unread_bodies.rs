//! Closes a connection after the response if the request's body was not read to its end.
//!
//! If the payload of a chunked body is dropped, actix keeps reading as long as the client sends. If the payload still
//! exists when the response has been written, actix sends `Connection: close`, waits for the client's disconnect
//! timeout and closes (`should_close_for_unread_payload` in actix-http's `h1/dispatcher.rs`). So the payload is kept as
//! long as the connection.

use std::any::Any;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::HttpMessage;
use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};

/// The body that was not read to its end, if any. Each connection has one of these.
#[derive(Clone, Default)]
struct UnreadBody(Rc<RefCell<Option<SharedPayload>>>);

#[derive(Clone)]
struct SharedPayload(Rc<RefCell<Payload>>);

impl Stream for SharedPayload {
    type Item = Result<Bytes, PayloadError>;
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.borrow_mut().poll_next_unpin(context)
    }
}

/// Gives each new connection its [`UnreadBody`].
pub fn on_connect(_: &dyn Any, data: &mut Extensions) {
    data.insert(UnreadBody::default());
}

/// Keeps a request's body until the response is written. It must be the outermost middleware: one outside of it that
/// responds by itself would drop the body.
pub async fn close(
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let unread = req.conn_data::<UnreadBody>().cloned();
    let payload = match req.take_payload() {
        Payload::None => None,
        payload => Some(SharedPayload(Rc::new(RefCell::new(payload)))),
    };
    if let (Some(payload), Some(unread)) = (&payload, &unread) {
        req.set_payload(Payload::Stream { payload: Box::pin(payload.clone()) });
        unread.0.replace(Some(payload.clone()));
    }
    let answer = next.call(req).await;
    if let (Some(payload), Some(unread)) = (payload, unread)
        && is_at_end(payload)
    {
        unread.0.replace(None);
    }
    answer
}

/// Discards what has arrived, without waiting for more. Returns whether that was the end of the body.
fn is_at_end(mut payload: SharedPayload) -> bool {
    loop {
        match payload.next().now_or_never() {
            Some(Some(Ok(_))) => {}
            Some(None | Some(Err(_))) => return true,
            None => return false,
        }
    }
}
