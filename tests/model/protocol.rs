//! The steps of the protocol, and what must hold after each.

use stateright::{Model, Property};

use crate::state::{
    Action, END, JOBS, LEASE, LINES, Line, MAX_ATTEMPTS, PushLineState, Request, State, Step, TIMEOUT, WORKERS, Worker,
    target,
};

/// A part of the protocol that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safeguard {
    /// A worker stores nothing for lines that another worker has claimed since.
    Fence,
    /// `from` is stored before the write is sent.
    FromBeforeWrite,
    /// Storing `from` renews the lease.
    Renewal,
    /// A worker that claims an agreement's lines of one job takes those of other jobs from their worker.
    Takeover,
}

/// The protocol, possibly without one of its safeguards.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    without: Option<Safeguard>,
}

impl Protocol {
    pub fn complete() -> Self {
        Self { without: None }
    }

    pub fn without(safeguard: Safeguard) -> Self {
        Self { without: Some(safeguard) }
    }

    fn has(self, safeguard: Safeguard) -> bool {
        self.without != Some(safeguard)
    }

    /// Whether a worker may store something for a line.
    fn holds(self, line: Line, fence: u8) -> bool {
        if self.has(Safeguard::Fence) {
            line.state == PushLineState::Working && line.fence == fence
        } else {
            line.is_open()
        }
    }

    /// Whether a newer job has written the addition, or found its quantity there.
    fn is_superseded(state: &State, job: usize, line: usize) -> bool {
        let written =
            |newer: &[Line; LINES]| matches!(newer[line].state, PushLineState::Pushed | PushLineState::Unchanged);
        state.lines[job + 1..].iter().any(written)
    }

    fn claim(self, state: &mut State, worker: usize, job: usize) -> bool {
        let now = state.now;
        // Nobody may hold a line of this agreement, in any job.
        if state.workers[worker] != Worker::Idle || state.lines.iter().flatten().any(|line| line.is_held(now)) {
            return false;
        }
        // The previous holder of an agreement's lines loses them, including lines of other jobs.
        for other in (0..JOBS).filter(|other| *other != job && self.has(Safeguard::Takeover)) {
            for line in state.lines[other].iter_mut().filter(|line| line.state == PushLineState::Working) {
                (line.state, line.fence) = (PushLineState::Pending, line.fence + 1);
            }
        }
        let mut fences = [None; LINES];
        for (line, fence) in state.lines[job].iter_mut().zip(&mut fences).filter(|(line, _)| line.is_open()) {
            (line.state, line.lease_until, line.fence) = (PushLineState::Working, now + LEASE, line.fence + 1);
            *fence = Some(line.fence);
        }
        let read = |line: usize| fences[line].map(|_| Step::Read(state.quantities[line]));
        state.workers[worker] = Worker::Busy { job, fences, steps: std::array::from_fn(read), holds_until: 0 };
        fences.iter().any(Option::is_some)
    }

    fn begin(self, state: &mut State, worker: usize) -> bool {
        let Worker::Busy { job, fences, mut steps, .. } = state.workers[worker].clone() else { return false };
        if !steps.iter().flatten().all(|step| matches!(step, Step::Read(_))) {
            return false;
        }
        let holds_until = state.now + LEASE;
        for line in 0..LINES {
            let (Some(Step::Read(has)), Some(fence)) = (steps[line], fences[line]) else { continue };
            if !self.holds(state.lines[job][line], fence) {
                steps[line] = None;
            } else if has == target(job) {
                let sent_before = state.lines[job][line].attempts > 0 && state.lines[job][line].from != Some(has);
                steps[line] =
                    Some(Step::Known(if sent_before { PushLineState::Pushed } else { PushLineState::Unchanged }));
            } else if Self::is_superseded(state, job, line) {
                steps[line] = Some(Step::Known(PushLineState::Superseded));
            } else {
                if self.has(Safeguard::FromBeforeWrite) {
                    state.lines[job][line].from = Some(has);
                }
                state.lines[job][line].attempts += 1;
                if self.has(Safeguard::Renewal) {
                    state.lines[job][line].lease_until = holds_until;
                }
                steps[line] = Some(Step::Prepared(has));
            }
        }
        state.workers[worker] = Worker::Busy { job, fences, steps, holds_until };
        true
    }

    fn send(state: &mut State, worker: usize, line: usize) -> bool {
        let now = state.now;
        let Worker::Busy { job, fences, steps, holds_until } = &mut state.workers[worker] else { return false };
        let (Some(Step::Prepared(has)), Some(fence)) = (steps[line], fences[line]) else { return false };
        // One after the other: the order makes no difference.
        if steps[..line].iter().flatten().any(|step| matches!(step, Step::Prepared(_))) {
            return false;
        }
        // A request must have ended before the lease does.
        if now + TIMEOUT >= *holds_until {
            return false;
        }
        steps[line] = Some(Step::Sent(has));
        state.requests.push(Request { worker, job: *job, line, fence, sent_at: now });
        true
    }

    /// Gives the sender of a request its outcome, if it still waits.
    fn respond(state: &mut State, request: Request, step: fn(u8) -> Step) {
        if let Worker::Busy { job, fences, steps, .. } = &mut state.workers[request.worker]
            && *job == request.job
            && fences[request.line] == Some(request.fence)
            && let Some(Step::Sent(has)) = steps[request.line]
        {
            steps[request.line] = Some(step(has));
        }
    }

    fn apply(self, state: &mut State, request: usize, response: bool) {
        let request = state.requests.remove(request);
        let line = state.lines[request.job][request.line];
        state.wrote_without_lease |= !line.is_held(state.now) || line.fence != request.fence;
        state.wrote_without_from |= line.from.is_none();
        state.quantities[request.line] = target(request.job);
        let applied = &mut state.applied[request.job][request.line];
        *applied = 2.min(*applied + 1);
        Self::respond(state, request, if response { Step::Written } else { Step::Lost });
    }

    fn finish(self, state: &mut State, worker: usize) -> bool {
        let Worker::Busy { job, fences, steps, .. } = state.workers[worker].clone() else { return false };
        // A write that was not sent in time is given back like one whose response was lost.
        let ready = |step: &Step| !matches!(step, Step::Read(_) | Step::Sent(_));
        if !steps.iter().flatten().all(ready) {
            return false;
        }
        for line in 0..LINES {
            let (Some(step), Some(fence)) = (steps[line], fences[line]) else { continue };
            let row = &mut state.lines[job][line];
            if !self.holds(*row, fence) {
                continue;
            }
            state.changed_finished |= !row.is_open();
            match step {
                Step::Written(has) => {
                    row.state = PushLineState::Pushed;
                    row.from = Some(row.from.unwrap_or(has));
                }
                Step::Known(result) => row.state = result,
                _ => row.state = PushLineState::Pending,
            }
        }
        state.workers[worker] = Worker::Idle;
        true
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let line = Line { state: PushLineState::Pending, fence: 0, lease_until: 0, from: None, attempts: 0 };
        vec![State {
            now: 1,
            lines: [[line; LINES]; JOBS],
            workers: [Worker::Idle, Worker::Idle],
            quantities: [0; LINES],
            requests: Vec::new(),
            applied: [[0; LINES]; JOBS],
            wrote_without_lease: false,
            wrote_without_from: false,
            changed_finished: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::Tick);
        for worker in 0..WORKERS {
            actions.extend((0..JOBS).map(|job| Action::Claim { worker, job }));
            actions.extend([Action::Begin { worker }, Action::Finish { worker }]);
            actions.extend((0..LINES).map(|line| Action::Send { worker, line }));
            actions.push(Action::Die { worker });
        }
        for request in 0..state.requests.len() {
            actions.extend([true, false].map(|response| Action::Apply { request, response }));
            actions.push(Action::Lose { request });
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let possible = match action {
            Action::Tick => {
                // No request is in flight for longer than the timeout.
                let overdue = state.requests.iter().any(|request| request.sent_at + TIMEOUT <= state.now);
                state.now += 1;
                !overdue
            }
            Action::Claim { worker, job } => self.claim(&mut state, worker, job),
            Action::Begin { worker } => self.begin(&mut state, worker),
            Action::Send { worker, line } => Self::send(&mut state, worker, line),
            Action::Apply { request, response } => {
                self.apply(&mut state, request, response);
                true
            }
            Action::Lose { request } => {
                let request = state.requests.remove(request);
                Self::respond(&mut state, request, Step::Lost);
                true
            }
            Action::Finish { worker } => self.finish(&mut state, worker),
            Action::Die { worker } => {
                let was_busy = state.workers[worker] != Worker::Idle;
                state.workers[worker] = Worker::Idle;
                was_busy
            }
        };
        state.canonicalize();
        possible.then_some(state)
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.now <= END && state.lines.iter().flatten().all(|line| line.attempts <= MAX_ATTEMPTS)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no write without a lease", |_, state: &State| !state.wrote_without_lease),
            Property::always("no write without a stored `from`", |_, state: &State| !state.wrote_without_from),
            Property::always("a finished line never changes", |_, state: &State| !state.changed_finished),
            Property::always("pushed means written", |_, state: &State| {
                (0..JOBS).all(|job| {
                    (0..LINES).all(|line| {
                        state.lines[job][line].state != PushLineState::Pushed || state.applied[job][line] > 0
                    })
                })
            }),
            Property::always("the newest job's quantity is what ConnectWise has", |_, state: &State| {
                (0..LINES).all(|line| {
                    let newest = state.lines[JOBS - 1][line].state;
                    !matches!(newest, PushLineState::Pushed | PushLineState::Unchanged)
                        || state.quantities[line] == target(JOBS - 1)
                })
            }),
            Property::sometimes("reachable: every line is finished", |_, state: &State| {
                state.lines.iter().flatten().all(|line| !line.is_open())
            }),
            Property::sometimes("reachable: a lost write is written again", |_, state: &State| {
                state.applied.iter().flatten().any(|times| *times > 1)
            }),
        ]
    }
}
