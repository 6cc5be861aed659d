//! The events of a simulation, in an order that its seed decides.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use serde_json::json;

use super::checks::Checks;
use super::executor::{Role, Tasks};
use super::people;
use super::world::{LEASE, TIMEOUT, Template, World};
use crate::support::{Backend, schema};

/// How long a task may take to end once nothing blocks it.
const MUST_END: Duration = Duration::from_secs(120);

/// How long a replica is frozen. A writer that waited longer for its turn gives up.
const LONGEST_FREEZE: Duration = Duration::from_secs(4);

pub struct Simulation<'t> {
    pub(super) world: World<'t>,
    pub(super) rng: fastrand::Rng,
    pub(super) tasks: Tasks,
    pub(super) checks: Checks,
    /// When each replica was frozen, if it is. A frozen replica makes no progress, like a stopped process.
    frozen: Vec<Option<Instant>>,
    trace: Vec<String>,
}

/// Notes that a step failed. A writer that waits too long, on a machine under load or for a frozen worker, gives up;
/// the service tries again.
fn note_failure(wrong: &Mutex<Vec<String>>, error: &dyn std::error::Error) {
    let text = error.to_string();
    if !text.contains("the service is busy") {
        wrong.lock().unwrap().push(format!("a step failed: {text}"));
    }
}

impl<'t> Simulation<'t> {
    pub async fn start(template: &'t Template, seed: u64) -> Self {
        let world = World::start(template).await;
        let (checks, frozen) = (Checks::start(&world), vec![None; world.replicas.len()]);
        Self { world, rng: fastrand::Rng::with_seed(seed), tasks: Tasks::default(), checks, frozen, trace: Vec::new() }
    }

    pub fn trace(&self) -> String {
        self.trace.join("\n")
    }

    pub(super) fn note(&mut self, text: String) {
        self.trace.push(format!("  {} {text}", self.world.clock.now().format("%d %H:%M:%S%.3f")));
    }

    /// Runs to the end. Returns the checks that failed.
    pub async fn run(&mut self) -> Vec<String> {
        for step in 0..self.rng.usize(200..500) {
            self.act().await;
            if step % 20 == 0 {
                self.checks.after_a_step();
            }
            if !self.checks.violations().is_empty() {
                return self.checks.violations();
            }
        }
        self.heal().await;
        self.checks.at_the_end(&self.world);
        for tenant in &self.world.template.tenants {
            schema::assert_requests_match(&tenant.sandbox.ledger());
        }
        self.checks.violations()
    }

    pub async fn stop(mut self) {
        self.tasks.kill(|_| true);
        self.world.until_quiet().await;
        self.world.stop().await;
    }

    async fn act(&mut self) {
        if self.frozen.iter().flatten().any(|since| since.elapsed() > LONGEST_FREEZE) {
            self.thaw().await;
        }
        match self.rng.u32(..1_000) {
            0..640 => self.turn().await,
            640..800 => self.start_worker(),
            800..820 => self.start_schedule(),
            820..900 => people::act(self),
            900..925 => people::break_connectwise(self),
            925..940 => people::change_connectwise(self),
            940..955 => {
                let milliseconds = self.rng.i64(1..900);
                self.world.clock.advance(TimeDelta::milliseconds(milliseconds));
            }
            955..975 => self.jump().await,
            975..984 => self.kill_worker(),
            984..988 => self.restart().await,
            _ => self.thaw().await,
        }
    }

    async fn turn(&mut self) {
        let frozen = self.frozen.clone();
        let may_run = |role: Role| frozen[role.replica()].is_none();
        self.tasks.turn(&mut self.rng, may_run).await;
    }

    fn start_worker(&mut self) {
        let replica = self.rng.usize(..self.world.replicas.len());
        let number = self.rng.usize(..self.world.replicas[replica].workers.len());
        let role = Role::Worker(replica, number);
        if self.frozen[replica].is_some() || self.tasks.count(|other| other == role) > 0 {
            return;
        }
        self.note(format!("{role:?} looks for work"));
        let (worker, wrong) = (self.world.replicas[replica].workers[number].clone(), self.world.wrong.clone());
        self.tasks.start(role, async move {
            worker.step().await.unwrap_or_else(|error| {
                note_failure(&wrong, &*error);
                false
            });
        });
    }

    fn start_schedule(&mut self) {
        let replica = self.rng.usize(..self.world.replicas.len());
        let (worker, wrong) = (self.world.replicas[replica].workers[0].clone(), self.world.wrong.clone());
        self.tasks.start(Role::Schedule(replica), async move {
            worker.fire_schedules().await.unwrap_or_else(|error| {
                note_failure(&wrong, &*error);
                0
            });
        });
    }

    /// A replica without a frozen task. There is always one.
    pub(super) fn awake(&mut self) -> usize {
        let awake: Vec<usize> = (0..self.frozen.len()).filter(|replica| self.frozen[*replica].is_none()).collect();
        awake[self.rng.usize(..awake.len())]
    }

    fn kill_worker(&mut self) {
        let replica = self.rng.usize(..self.world.replicas.len());
        let number = self.rng.usize(..3);
        self.note(format!("worker {number} of replica {replica} dies"));
        self.world.grace.note_kill();
        self.tasks.kill(|role| role == Role::Worker(replica, number));
    }

    /// Ends a process at whatever step its workers are, and starts another.
    async fn restart(&mut self) {
        let replica = self.awake();
        self.note(format!("replica {replica} is killed and started again"));
        self.world.grace.note_kill();
        self.tasks.kill(|role| role.replica() == replica);
        self.world.restart(replica).await;
    }

    /// Moves the clock so far that leases run out, retries are due, or months begin. Running tasks are finished, killed
    /// or frozen first, because requests in flight would have timed out by then.
    async fn jump(&mut self) {
        for replica in 0..self.frozen.len() {
            match self.rng.u32(..10) {
                _ if self.frozen[replica].is_some() => {}
                0..5 => self.finish(|role| role.replica() == replica).await,
                5..8 if self.world.template.backend == Backend::Postgres && self.frozen.iter().all(Option::is_none) => {
                    self.finish(|role| role == Role::Person(replica)).await;
                    self.note(format!("replica {replica} is frozen"));
                    self.frozen[replica] = Some(Instant::now());
                }
                _ => {
                    self.world.grace.note_kill();
                    self.tasks.kill(|role| role.replica() == replica);
                }
            }
        }
        self.world.until_quiet().await;
        let seconds = [LEASE + 1, 200, 600, 3_700, 30_000, 90_000, 260_000];
        let by = TimeDelta::seconds(seconds[self.rng.usize(..seconds.len())]);
        self.world.grace.note_jump(self.world.clock.now());
        self.world.clock.advance(by);
        self.note(format!("{by} later"));
    }

    /// Lets a frozen replica continue where it was. Its requests have timed out by then.
    async fn thaw(&mut self) {
        for replica in 0..self.frozen.len() {
            let Some(since) = self.frozen[replica] else { continue };
            if self.tasks.count(|role| role.replica() == replica) > 0 {
                let until = since + Duration::from_secs(TIMEOUT) + Duration::from_millis(100);
                tokio::time::sleep_until(until.into()).await;
            }
            self.note(format!("replica {replica} goes on"));
            self.frozen[replica] = None;
        }
    }

    /// Runs tasks to their end. All others run as well, because one may block another.
    async fn finish(&mut self, of: impl Fn(Role) -> bool + Copy) {
        let begun = Instant::now();
        while self.tasks.count(of) > 0 && begun.elapsed() < MUST_END {
            self.turn().await;
        }
        assert_eq!(self.tasks.count(of), 0, "a task never ends");
    }

    /// Repairs everything, and runs everything to its end.
    async fn heal(&mut self) {
        self.note("everything works again".to_owned());
        for tenant in &self.world.template.tenants {
            tenant.sandbox.clear_faults();
        }
        self.thaw().await;
        self.finish(|_| true).await;
        for (number, tenant) in self.world.template.tenants.iter().enumerate() {
            let connection = tenant.connection(None);
            let api = self.world.api(number, 0);
            let saved = api.send(reqwest::Method::PUT, "/connection", connection).await;
            assert!(saved.is_some(), "the connection cannot be put right: {:?}", api.rejections());
        }
        for _ in 0..60 {
            for replica in 0..self.world.replicas.len() {
                for (number, worker) in self.world.replicas[replica].workers.iter().enumerate() {
                    let (worker, wrong) = (worker.clone(), self.world.wrong.clone());
                    self.tasks.start(Role::Worker(replica, number), async move {
                        worker.run_until_idle().await.unwrap_or_else(|error| note_failure(&wrong, &*error));
                    });
                }
            }
            self.finish(|_| true).await;
            self.checks.after_a_step();
            if self.checks.all_jobs_ended() {
                break;
            }
            self.world.clock.advance(TimeDelta::minutes(25));
        }
        // Jobs that wait for a person are dropped, and must then end as well.
        for tenant in 0..self.world.template.tenants.len() {
            let api = self.world.api(tenant, 0);
            for job in api.items("/push-jobs?state=waiting_for_approval&limit=500").await {
                let path = format!("/push-jobs/{}/lines/drop", job["id"].as_str().unwrap());
                api.send(reqwest::Method::POST, &path, json!({})).await;
            }
        }
    }
}
