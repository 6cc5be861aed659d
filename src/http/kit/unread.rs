//! Bodies that are not read to their end: answered, and then the connection is closed.
//!
//! Where the payload of a chunked body is dropped, actix reads on for as long as the client sends. Where it is still
//! there when the answer has been written, actix says `Connection: close`, lingers for the client's disconnect time-out
//! and closes (`should_close_for_unread_payload` in actix-http's `h1/dispatcher.rs`). So it is kept for as long as the
//! connection.

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

/// The body that a connection has not read to its end.
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

/// Gives each connection a place for the body that it has not read.
pub fn on_connect(_: &dyn Any, data: &mut Extensions) {
    data.insert(UnreadBody::default());
}

/// Keeps a request's body until the answer is written. It must be the outermost middleware: one outside of it that answers
/// by itself would drop the body.
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

/// Reads away what has arrived, without waiting for more; gives whether that was all of the body.
fn is_at_end(mut payload: SharedPayload) -> bool {
    loop {
        match payload.next().now_or_never() {
            Some(Some(Ok(_))) => {}
            Some(None | Some(Err(_))) => return true,
            None => return false,
        }
    }
}
