//! The body of a request that must not be sent late.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::domain::clock::{Clock, Timestamp};

/// A body that is withheld from a time on. The HTTP client asks for it only when it writes to the connection, so a
/// process that was paused after its last check of the time does not complete the request, and the server ignores it.
pub(super) struct TimedBody {
    bytes: Option<Bytes>,
    not_after: Timestamp,
    clock: Clock,
}

/// The error of a body that is withheld: the request was not completed.
#[derive(Debug, thiserror::Error)]
#[error("it was too late to send the request")]
pub(super) struct TooLate;

impl TooLate {
    /// Whether a request failed because its body was withheld.
    pub(super) fn caused(error: &reqwest::Error) -> bool {
        let first = std::error::Error::source(error);
        std::iter::successors(first, |cause| cause.source()).any(|cause| cause.is::<Self>())
    }
}

impl TimedBody {
    pub(super) fn new(bytes: Vec<u8>, not_after: Timestamp, clock: Clock) -> Self {
        Self { bytes: Some(bytes.into()), not_after, clock }
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = TooLate;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TooLate>>> {
        let is_late = self.clock.now() >= self.not_after;
        Poll::Ready(self.bytes.take().map(|bytes| if is_late { Err(TooLate) } else { Ok(Frame::data(bytes)) }))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    /// The exact size, which becomes the `Content-Length`.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use chrono::TimeDelta;

    use super::*;

    /// Sends a body so many seconds before it is too late. Returns the outcome, and what the server received.
    fn send(seconds_left: i64) -> (Result<reqwest::Response, reqwest::Error>, String) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut received, mut part) = (Vec::new(), [0; 1024]);
            while !received.ends_with(b"quantity") {
                match stream.read(&mut part).unwrap() {
                    0 => break,
                    read => received.extend_from_slice(&part[..read]),
                }
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok();
            String::from_utf8(received).unwrap()
        });
        let now = chrono::DateTime::UNIX_EPOCH;
        let body = TimedBody::new(b"quantity".to_vec(), now + TimeDelta::seconds(seconds_left), Clock::fixed(now));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(async {
            let client = reqwest::Client::builder().no_proxy().tls_certs_only(std::iter::empty()).build().unwrap();
            client.patch(address).body(reqwest::Body::wrap(body)).send().await
        });
        drop(runtime);
        (outcome, server.join().unwrap())
    }

    #[test]
    fn a_body_in_time_is_sent_with_its_length() {
        let (outcome, received) = send(1);
        assert_eq!(outcome.unwrap().status(), 200);
        assert!(
            received.to_lowercase().contains("content-length: 8\r\n") && received.ends_with("quantity"),
            "{received}"
        );
    }

    #[test]
    fn a_late_body_is_withheld() {
        let (outcome, received) = send(0);
        assert!(TooLate::caused(&outcome.unwrap_err()));
        assert!(!received.contains("quantity"), "{received}");
    }
}
