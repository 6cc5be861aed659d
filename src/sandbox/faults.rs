//! Injected faults: the ways in which ConnectWise can fail.

use serde::{Deserialize, Serialize};

/// A way to fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// Responds with this status and ConnectWise's error body, without carrying out the request.
    Status {
        /// The HTTP status of the response.
        status: u16,
        /// The `code` in the body.
        code: Option<String>,
        /// The `message` in the body.
        message: Option<String>,
    },
    /// Carries out the request, and then responds with this status.
    StatusAfter {
        /// The HTTP status of the response.
        status: u16,
    },
    /// Responds with 429 and `Retry-After`: as ConnectWise does or, with HTML, as a proxy in front of it does.
    Throttle {
        /// The value of `Retry-After`, in seconds.
        retry_after: u64,
        /// Whether the body is HTML instead of JSON.
        #[serde(default)]
        html: bool,
    },
    /// Responds with 200 and an HTML page, without carrying out the request.
    Html,
    /// Responds with this status and a proxy's HTML page, without carrying out the request.
    Page {
        /// The HTTP status of the page, such as 502.
        status: u16,
    },
    /// Carries out the request, but sends only half of the body, with a matching `Content-Length`.
    Truncated,
    /// Carries out the request, but responds with JSON of the wrong type.
    WrongType,
    /// Carries out the request, and delays the response.
    Slow {
        /// How long, in milliseconds.
        ms: u64,
    },
    /// Waits, and then cuts the connection without carrying out the request.
    Hang {
        /// How long, in milliseconds.
        ms: u64,
    },
    /// Cuts the connection without carrying out the request.
    Drop,
    /// Carries out the request, and then cuts the connection.
    DropAfter,
    /// Responds with 200, but changes nothing.
    FalseSuccess,
    /// Redirects with 302, without carrying out the request.
    Redirect {
        /// The `Location` header.
        to: String,
    },
}

/// A fault, and which requests it hits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What happens.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// The number of requests that the fault hits.
    #[serde(default = "once")]
    pub times: u32,
    /// Hits only requests with this method.
    pub method: Option<String>,
    /// Hits only requests whose path contains this text.
    pub path: Option<String>,
    /// Hits only every nth matching request, by count and not at random.
    #[serde(default = "each")]
    pub one_in: u32,
}

fn once() -> u32 {
    1
}

fn each() -> u32 {
    1
}

impl Fault {
    /// Creates a fault that hits one request.
    pub fn once(kind: FaultKind) -> Self {
        Self { kind, times: 1, method: None, path: None, one_in: 1 }
    }

    /// Sets the number of requests that the fault hits.
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// Limits the fault to a method.
    pub fn on(self, method: &str) -> Self {
        Self { method: Some(method.to_owned()), ..self }
    }

    /// Limits the fault to paths that contain a text.
    pub fn at(self, path: &str) -> Self {
        Self { path: Some(path.to_owned()), ..self }
    }
}

/// The active faults, each with the number of matching requests so far.
#[derive(Debug, Default)]
pub(super) struct Faults {
    waiting: Vec<(Fault, u32)>,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.waiting.push((fault, 0));
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Returns the fault that hits a request, if there is one, and counts the hit.
    pub(super) fn hit(&mut self, method: &str, path: &str) -> Option<FaultKind> {
        let fits = |fault: &Fault| {
            fault.times > 0
                && fault.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
                && fault.path.as_deref().is_none_or(|wanted| path.contains(wanted))
        };
        for (fault, seen) in self.waiting.iter_mut().filter(|(fault, _)| fits(fault)) {
            *seen += 1;
            if *seen % fault.one_in.max(1) == 0 {
                fault.times -= 1;
                return Some(fault.kind.clone());
            }
        }
        None
    }
}
