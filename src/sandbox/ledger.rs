//! The ledger: the requests in order, the quantity writes, and the violations of ConnectWise's rules.

use serde::Serialize;
use serde_json::Value;

/// One request with its response.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// The HTTP method.
    pub method: String,
    /// The path after `apis/3.0/`, or the whole path if it does not contain that.
    pub path: String,
    /// The query parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The names and values of the relevant headers, such as `accept`. Credentials are not recorded.
    pub headers: Vec<(String, String)>,
    /// The request body; `None` if it is not JSON.
    pub body: Option<Value>,
    /// The status of the response; 0 if the connection was cut.
    pub status: u16,
    /// The response body. `None` if a fault hit the request, or if the ledger does not keep bodies (see
    /// `keep_answers`).
    pub answer: Option<Value>,
}

/// One change of an addition that took effect, with its quantity before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Write {
    /// The addition's id.
    pub addition: i64,
    /// The quantity before.
    pub from: Option<f64>,
    /// The quantity after.
    pub to: Option<f64>,
}

/// What was recorded since the start or since the ledger was cleared.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Ledger {
    /// All requests except those for company information, in order of completion.
    pub requests: Vec<Entry>,
    /// All changes of additions, in order.
    pub writes: Vec<Write>,
    /// All violations of ConnectWise's rules, as text with the request's method and path.
    pub violations: Vec<String>,
    /// The maximum number of requests processed at the same time.
    pub most_parallel: usize,
}
