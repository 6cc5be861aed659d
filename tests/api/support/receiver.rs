//! A receiver of webhooks, which keeps the requests and responds as the test wants.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::Value;

/// A received request.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Whether one of the signatures equals that of a Standard Webhooks library.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let timestamp = self.header("webhook-timestamp").parse().unwrap();
        let webhook = standardwebhooks::Webhook::new(secret).unwrap();
        let expected = webhook.sign(self.header("webhook-id"), timestamp, self.body.as_bytes()).unwrap();
        self.header("webhook-signature").split(' ').any(|signature| signature == expected)
    }

    /// Whether a Standard Webhooks library accepts it now. Most tests have their own time and cannot use this.
    pub fn is_valid_now(&self, secret: &str) -> bool {
        let mut headers = http::HeaderMap::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            headers.insert(name, self.header(name).parse().unwrap());
        }
        standardwebhooks::Webhook::new(secret).unwrap().verify(self.body.as_bytes(), &headers).is_ok()
    }
}

/// How to respond.
#[derive(Debug, Clone, Default)]
pub struct Response {
    pub status: u16,
    pub retry_after: Option<&'static str>,
    pub location: Option<&'static str>,
    pub delay: Duration,
}

impl Response {
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    /// How to respond to the next requests; afterwards with 204.
    responses: VecDeque<Response>,
}

pub struct Receiver {
    state: Arc<Mutex<State>>,
    address: std::net::SocketAddr,
    server: actix_web::dev::ServerHandle,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let server = self.server.clone();
        tokio::spawn(async move { server.stop(false).await });
    }
}

async fn receive(state: web::Data<Mutex<State>>, request: HttpRequest, body: String) -> HttpResponse {
    let text = |value: &actix_web::http::header::HeaderValue| value.to_str().unwrap().to_owned();
    let headers = request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let response = {
        let mut state = state.lock().unwrap();
        state.received.push(Received { path: request.path().to_owned(), headers, body });
        state.responses.pop_front().unwrap_or_else(|| Response::status(204))
    };
    if !response.delay.is_zero() {
        tokio::time::sleep(response.delay).await;
    }
    let mut reply = HttpResponse::build(StatusCode::from_u16(response.status).unwrap());
    if let Some(wait) = response.retry_after {
        reply.insert_header(("retry-after", wait));
    }
    if let Some(location) = response.location {
        reply.insert_header(("location", location));
    }
    reply.finish()
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let data = web::Data::from(state.clone());
        let app = move || App::new().app_data(data.clone()).default_service(web::to(receive));
        let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { state, address, server: handle }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Responds to the next requests like this.
    pub fn respond(&self, responses: impl IntoIterator<Item = Response>) {
        self.state.lock().unwrap().responses.extend(responses);
    }

    /// The requests received since the last call.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.state.lock().unwrap().received)
    }

    /// The number of requests received since the last [`Self::take`].
    pub fn count(&self) -> usize {
        self.state.lock().unwrap().received.len()
    }
}
