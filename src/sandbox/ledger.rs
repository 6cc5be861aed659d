//! The requests in order, the writes among them, and the rules of ConnectWise that they broke.

use serde::Serialize;
use serde_json::Value;

/// One request with its answer.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// The method.
    pub method: String,
    /// The path after `apis/3.0/`, or the whole path where it is another.
    pub path: String,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
    /// The names of the headers that matter, with their values; no credentials.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Value>,
    /// The status answered; 0 where the connection was cut.
    pub status: u16,
    /// The body answered, where it is JSON and the ledger keeps bodies.
    pub answer: Option<Value>,
}

/// One change of an addition's quantity that took effect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Write {
    /// The addition.
    pub addition: i64,
    /// Before.
    pub from: Option<f64>,
    /// After.
    pub to: Option<f64>,
}

/// The requests so far.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Ledger {
    /// Every request.
    pub requests: Vec<Entry>,
    /// Every change.
    pub writes: Vec<Write>,
    /// Every rule broken.
    pub violations: Vec<String>,
    /// How many requests were being answered at once, at most.
    pub most_parallel: usize,
}
