//! Failing on purpose, in the ways that ConnectWise can.

use serde::{Deserialize, Serialize};

/// A way to fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// This status with ConnectWise's error body, before anything is done.
    Status {
        /// The HTTP status of the answer.
        status: u16,
        /// The `code` of the body.
        code: Option<String>,
        /// The `message` of the body.
        message: Option<String>,
    },
    /// The request is carried out, and then answered with this status.
    StatusAfter {
        /// The HTTP status of the answer.
        status: u16,
    },
    /// 429 with `Retry-After`, as ConnectWise's own or, without JSON, as the network in front of it answers.
    Throttle {
        /// Seconds to wait.
        retry_after: u64,
        /// Answer HTML instead of JSON.
        #[serde(default)]
        html: bool,
    },
    /// 200 with a page of HTML.
    Html,
    /// A proxy's page of HTML with this status, before anything is done.
    Page {
        /// The HTTP status of the page, such as 502.
        status: u16,
    },
    /// Half of the answer's body, complete by its length.
    Truncated,
    /// JSON of another type than asked for.
    WrongType,
    /// No answer for this long, then the normal one.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
    /// No answer for this long, then none at all.
    Hang {
        /// Milliseconds.
        ms: u64,
    },
    /// The connection is cut before anything is done.
    Drop,
    /// The request is carried out, and then the connection is cut.
    DropAfter,
    /// 200, and nothing is changed.
    FalseSuccess,
    /// A redirect to another host.
    Redirect {
        /// Where to.
        to: String,
    },
}

/// A fault that waits for requests to hit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What happens.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// To how many requests.
    #[serde(default = "once")]
    pub times: u32,
    /// Only to this method.
    pub method: Option<String>,
    /// Only to paths that hold this text.
    pub path: Option<String>,
    /// Only every nth request, counted rather than drawn at random.
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
    /// A fault for one request.
    pub fn once(kind: FaultKind) -> Self {
        Self { kind, times: 1, method: None, path: None, one_in: 1 }
    }

    /// The number of requests that it applies to.
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// Only for a method.
    pub fn on(self, method: &str) -> Self {
        Self { method: Some(method.to_owned()), ..self }
    }

    /// Only for paths that hold a text.
    pub fn at(self, path: &str) -> Self {
        Self { path: Some(path.to_owned()), ..self }
    }
}

/// The faults that wait.
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

    /// The fault that hits a request, if one does.
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
