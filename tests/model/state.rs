//! What the database, the workers and ConnectWise know at one moment.

pub const WORKERS: usize = 2;
pub const JOBS: usize = 2;
/// The additions of the one agreement. Each job has one line for each.
pub const LINES: usize = 2;
/// The ticks that a lease lasts, and those that a request may take.
pub const LEASE: u8 = 2;
pub const TIMEOUT: u8 = 1;
/// The last tick: a bound for the check.
pub const END: u8 = 4;
/// The writes that a line may begin: another bound.
pub const MAX_ATTEMPTS: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PushLineState {
    Pending,
    Working,
    Pushed,
    Unchanged,
    Superseded,
}

/// A push line, as stored in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Line {
    pub state: PushLineState,
    pub fence: u8,
    pub lease_until: u8,
    pub from: Option<u8>,
    pub attempts: u8,
}

/// What a worker knows about one of its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// The addition was read.
    Read(u8),
    /// `from` is stored; the write may be sent.
    Prepared(u8),
    /// The write is in flight.
    Sent(u8),
    /// ConnectWise confirmed the write.
    Written(u8),
    /// No response came.
    Lost(u8),
    /// The result is known without a write.
    Known(PushLineState),
}

/// A worker's current step. A worker that dies forgets it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Worker {
    Idle,
    /// It has claimed a job's lines, with these fences, and read their additions. `holds_until` is the expiry of the
    /// lease that was stored together with `from`.
    Busy {
        job: usize,
        fences: [Option<u8>; LINES],
        steps: [Option<Step>; LINES],
        holds_until: u8,
    },
}

/// A request that was sent and has neither taken effect nor been lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Request {
    pub worker: usize,
    pub job: usize,
    pub line: usize,
    pub fence: u8,
    pub sent_at: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub now: u8,
    pub lines: [[Line; LINES]; JOBS],
    pub workers: [Worker; WORKERS],
    pub quantities: [u8; LINES],
    pub requests: Vec<Request>,
    /// The lines whose write took effect once, or twice or more.
    pub applied: [[u8; LINES]; JOBS],
    pub wrote_without_lease: bool,
    pub wrote_without_from: bool,
    pub changed_finished: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Time passes.
    Tick,
    /// Claims a job's lines, and reads their additions. Reading immediately is the worst case, because the data is
    /// oldest then.
    Claim {
        worker: usize,
        job: usize,
    },
    /// Stores `from` of all lines that are to be written, in one transaction.
    Begin {
        worker: usize,
    },
    Send {
        worker: usize,
        line: usize,
    },
    /// A request takes effect; its response arrives, or not.
    Apply {
        request: usize,
        response: bool,
    },
    /// A request is lost before it takes effect.
    Lose {
        request: usize,
    },
    /// Stores all results, in one transaction.
    Finish {
        worker: usize,
    },
    Die {
        worker: usize,
    },
}

/// The quantity that a job writes. The older job is the first.
pub fn target(job: usize) -> u8 {
    u8::try_from(job).unwrap_or(u8::MAX) + 1
}

impl State {
    /// Workers are interchangeable and the order of requests is irrelevant: one state represents all that are
    /// equivalent.
    pub fn canonicalize(&mut self) {
        if self.workers[0] > self.workers[1] {
            self.workers.swap(0, 1);
            self.requests.iter_mut().for_each(|request| request.worker = 1 - request.worker);
        }
        self.requests.sort();
    }
}

impl Line {
    pub fn is_open(self) -> bool {
        matches!(self.state, PushLineState::Pending | PushLineState::Working)
    }

    pub fn is_held(self, now: u8) -> bool {
        self.state == PushLineState::Working && self.lease_until >= now
    }
}
