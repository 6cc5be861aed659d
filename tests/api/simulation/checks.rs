//! What must always hold.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use connectwise_billing::sandbox::{Sandbox, Write};

use super::rows::{Line, Rows};
use super::world::{Tenant, World, additions};

/// The quantities that people set in ConnectWise, by tenant and addition.
pub type SetByPeople = Arc<Mutex<HashMap<(usize, i64), Vec<Option<f64>>>>>;

/// A line's state and quantities when it was finished.
type Outcome = (String, Option<String>, Option<String>);

pub struct Checks {
    rows: Rows,
    pub set_by_people: SetByPeople,
    wrong: Arc<Mutex<Vec<String>>>,
    finished: HashMap<String, Outcome>,
}

impl Checks {
    /// Watches every write of an addition from now on.
    pub fn start(world: &World<'_>) -> Self {
        let (rows, set_by_people) = (Rows::of(world.url()), SetByPeople::default());
        for (number, tenant) in world.template.tenants.iter().enumerate() {
            let (rows, by_people, wrong) = (rows.clone(), set_by_people.clone(), world.wrong.clone());
            let (clock, grace, id) = (world.clock.clone(), world.grace.clone(), tenant.id.clone());
            tenant.sandbox.observe_writes(move |write| {
                let lines = rows.lines_of(write.addition);
                let by_people = by_people.lock().unwrap();
                let by_people = by_people.get(&(number, write.addition)).map_or(&[][..], Vec::as_slice);
                // A killed worker's last request may arrive after the clock has jumped.
                let now = grace.time_of_lease(clock.now()).naive_utc();
                let allowed = |line: &&Line| {
                    line.writes(&id, write.addition)
                        && line.state == "working"
                        && line.attempts > 0
                        && line.to() == write.to
                        && line.lease_until.is_some_and(|until| until >= now)
                        && (line.from() == write.from || write.from == write.to || by_people.contains(&write.from))
                };
                if lines.iter().find(allowed).is_none() {
                    let lines: Vec<&Line> = lines.iter().filter(|line| line.writes(&id, write.addition)).collect();
                    let text = format!(
                        "a write without a lease or without its stored quantity: {write:?}, at {now}, {lines:#?}"
                    );
                    wrong.lock().unwrap().push(text);
                }
            });
        }
        Self { rows, set_by_people, wrong: world.wrong.clone(), finished: HashMap::new() }
    }

    fn fail(&self, text: String) {
        self.wrong.lock().unwrap().push(text);
    }

    pub fn violations(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    /// A finished line never changes.
    pub fn after_a_step(&mut self) {
        for line in self.rows.lines().into_iter().filter(|line| line.finished_at.is_some() && line.state != "held") {
            let outcome = (line.state.clone(), line.from_quantity.clone(), line.to_quantity.clone());
            let before = self.finished.entry(line.id.clone()).or_insert_with(|| outcome.clone());
            if *before != outcome {
                let text = format!("line {} was finished as {before:?} and then as {outcome:?}", line.id);
                self.fail(text);
            }
        }
    }

    /// Whether every job has ended, or waits for a person.
    pub fn all_jobs_ended(&self) -> bool {
        let ended = ["succeeded", "completed_with_failures", "failed", "cancelled", "waiting_for_approval"];
        self.rows.jobs().iter().all(|job| ended.contains(&job.state.as_str()))
    }

    pub fn at_the_end(&mut self, world: &World<'_>) {
        self.after_a_step();
        if !self.all_jobs_ended() {
            self.fail(format!("jobs that never end: {:?} {:#?}", self.rows.jobs(), self.open_lines()));
        }
        if self.rows.jobs().iter().all(|job| job.state != "waiting_for_approval") && !self.open_lines().is_empty() {
            self.fail(format!("lines that never end: {:#?}", self.open_lines()));
        }
        let mut runs = HashSet::new();
        for job in self.rows.jobs().iter().filter(|job| job.started_by == "schedule") {
            if !runs.insert((job.tenant_id.clone(), job.billing_month.clone())) {
                self.fail(format!("two scheduled jobs for one month: {job:?}"));
            }
        }
        let lines = self.rows.lines();
        for (number, tenant) in world.template.tenants.iter().enumerate() {
            for addition in additions(number) {
                self.history_agrees(&lines, number, tenant, addition);
            }
        }
    }

    fn open_lines(&self) -> Vec<Line> {
        self.rows.lines().into_iter().filter(|line| line.finished_at.is_none()).collect()
    }

    /// The sandbox's ledger and the push lines agree.
    fn history_agrees(&self, lines: &[Line], number: usize, tenant: &Tenant, addition: i64) {
        let writes = effective_writes(&tenant.sandbox, addition);
        let lines: Vec<&Line> = lines.iter().filter(|line| line.writes(&tenant.id, addition)).collect();
        let quantity = tenant.sandbox.read(|records| records.quantity(addition));
        let context = || format!("addition {addition} of tenant {number} has {quantity:?}: {writes:?} {lines:#?}");
        let may_have_written = |line: &&&Line| line.attempts > 0 && line.state != "pushed";
        let pushed = |line: &&&Line| line.state == "pushed";
        for line in lines.iter().filter(pushed) {
            if !writes.iter().any(|write| write.to == line.to()) {
                self.fail(format!("line {} says pushed, but nothing was written: {}", line.id, context()));
            }
        }
        for write in &writes {
            let explained = |line: &&Line| line.to() == write.to && (line.attempts > 0 || line.state == "pushed");
            if !lines.iter().any(explained) {
                self.fail(format!("no line explains {write:?}: {}", context()));
            }
        }
        let newest_pushed = lines.iter().rev().find(pushed);
        let after = |id: &str| lines.iter().any(|line| line.id.as_str() > id && may_have_written(&line));
        if let (Some(newest), Some(last)) = (newest_pushed, writes.last())
            && newest.to() != last.to
            && !after(&newest.id)
        {
            self.fail(format!("the newest job's quantity was not the last written: {}", context()));
        }
        let found = |line: &&&Line| pushed(line) || line.state == "unchanged";
        let touched = self.set_by_people.lock().unwrap().contains_key(&(number, addition));
        if let Some(newest) = lines.iter().rev().find(found)
            && newest.to() != quantity
            && !touched
            && !after(&newest.id)
        {
            self.fail(format!("ConnectWise does not have the newest job's quantity: {}", context()));
        }
    }
}

/// The writes that changed an addition's quantity.
fn effective_writes(sandbox: &Sandbox, addition: i64) -> Vec<Write> {
    let writes = sandbox.ledger().writes.into_iter();
    writes.filter(|write| write.addition == addition && write.from != write.to).collect()
}
