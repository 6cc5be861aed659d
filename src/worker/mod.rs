//! The background work: scheduled pushes, push jobs, and cleanup.
//!
//! One step does one unit of work and reports whether there was any, so that tests can run steps without waiting.

mod supervise;

use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::domain::Result;
use crate::services::idempotency;
use crate::services::push;
use crate::services::usage::totals;
use crate::services::webhooks;
use crate::services::{AppContext, LoopCount, StepResult};
use supervise::supervise;

/// How often the process looks for work that it was not notified of: lines that became due, and work of other processes
/// whose announcement was lost.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How often the schedules are checked.
const SCHEDULE_INTERVAL: Duration = Duration::from_secs(15);
/// How many tenants' webhooks are sent at the same time. The loops mostly wait for the addresses.
const DELIVERY_LOOPS: usize = 64;
/// How often expired idempotency keys are deleted and the database is optimised.
const HOURLY: Duration = Duration::from_secs(3_600);

/// Which parts of the background work this process does.
#[derive(Debug, Clone, Copy)]
pub struct BackgroundTasks {
    /// Processes push jobs, and sends webhooks.
    pub push: bool,
    /// Starts scheduled pushes and runs the cleanup.
    pub schedule: bool,
}

/// Runs the background work.
#[derive(Clone)]
pub struct Worker {
    ctx: AppContext,
    /// The owner of claimed lines, unique to this process.
    owner: String,
    parallel: usize,
    background_tasks: BackgroundTasks,
}

impl Worker {
    /// Creates a worker that processes `parallel` claims at a time.
    pub fn new(ctx: AppContext, parallel: usize, background_tasks: BackgroundTasks) -> Self {
        Self { ctx, owner: uuid::Uuid::now_v7().to_string(), parallel: parallel.max(1), background_tasks }
    }

    /// Returns another worker on the same database, with its own name.
    pub fn another(&self) -> Self {
        Self { owner: uuid::Uuid::now_v7().to_string(), ..self.clone() }
    }

    /// Claims and processes pending lines of some agreements. Returns whether there were any.
    pub async fn step(&self) -> Result<StepResult> {
        push::run_one(&self.ctx, &self.owner).await
    }

    /// Sends some webhooks that are due. Returns whether there were any.
    pub async fn deliver(&self) -> Result<StepResult> {
        webhooks::deliver_one(&self.ctx, &self.owner).await
    }

    /// Starts the scheduled pushes that are due. Returns their number.
    pub async fn fire_schedules(&self) -> Result<usize> {
        push::start_due(&self.ctx).await
    }

    /// Returns the number of statements that the process sent to its database, and of writing transactions.
    pub fn database_counts(&self) -> (u64, u64) {
        self.ctx.db.counts()
    }

    /// Runs the hourly tasks once.
    pub async fn hourly_tasks(&self) {
        hourly_tasks(&self.ctx).await;
    }

    /// Declares that push loops should run in this process.
    pub fn expect_loops(&self) {
        self.ctx.push_loops.expect_loops();
    }

    /// Runs until the process stops. Finishes the current step first.
    pub async fn run(self) {
        let mut loops = JoinSet::new();
        let (stop, ctx) = (&self.ctx.shutdown, &self.ctx);
        let pushing = if self.background_tasks.push { self.parallel } else { 0 };
        if pushing > 0 {
            let looking = ctx.clone();
            let start = move || look_for_work(looking.clone());
            loops.spawn(supervise("look", stop.clone(), LoopCount::default(), start));
        }
        for number in 0..pushing {
            let mut worker = self.clone();
            worker.owner = format!("{}-{number}", self.owner);
            let start = move || worker.clone().run_loop();
            loops.spawn(supervise("push", stop.clone(), ctx.push_loops.clone(), start));
        }
        for number in 0..if pushing > 0 { DELIVERY_LOOPS } else { 0 } {
            let mut worker = self.clone();
            worker.owner = format!("{}-webhooks-{number}", self.owner);
            let start = move || worker.clone().run_deliveries();
            loops.spawn(supervise("webhooks", stop.clone(), LoopCount::default(), start));
        }
        if self.background_tasks.push {
            self.expect_loops();
        }
        if self.background_tasks.schedule {
            let (schedules, idle) = (ctx.clone(), ctx.clone());
            let start = move || run_schedules(schedules.clone());
            loops.spawn(supervise("schedule", stop.clone(), ctx.schedule_loops.clone(), start));
            ctx.schedule_loops.expect_loops();
            let start = move || cleanup(idle.clone());
            loops.spawn(supervise("cleanup", stop.clone(), LoopCount::default(), start));
        }
        while loops.join_next().await.is_some() {}
    }

    async fn run_loop(self) {
        self.run_steps(async |worker: &Self| worker.step().await, &self.ctx.wake).await;
    }

    async fn run_deliveries(self) {
        self.run_steps(async |worker: &Self| worker.deliver().await, &self.ctx.wake_deliveries).await;
    }

    /// Takes steps while there is work, and waits to be woken while there is none.
    async fn run_steps(&self, step: impl AsyncFn(&Self) -> Result<StepResult>, wake: &Notify) {
        let stop = self.ctx.shutdown.clone();
        while !stop.is_cancelled() {
            match step(self).await {
                Ok(StepResult::Worked) => continue,
                Ok(StepResult::Idle) => {}
                Err(error) => tracing::error!(cause = %error.chain(), "worker step failed"),
            }
            tokio::select! {
                () = wake.notified() => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// Looks for work on behalf of all loops of the process, so that an idle process rarely queries its database: at
/// intervals, and when another process announces work.
async fn look_for_work(ctx: AppContext) {
    loop {
        if let Err(error) = push::poll(&ctx).await {
            tracing::warn!(cause = %error.chain(), "failed to look for push lines");
        }
        if let Err(error) = webhooks::poll(&ctx).await {
            tracing::warn!(cause = %error.chain(), "failed to look for webhooks to send");
        }
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            () = ctx.db.work_announced() => {}
            () = ctx.shutdown.cancelled() => return,
        }
    }
}

async fn run_schedules(ctx: AppContext) {
    loop {
        if let Err(error) = push::start_due(&ctx).await {
            tracing::warn!(cause = %error.chain(), "failed to check the push schedules");
        }
        tokio::select! {
            () = tokio::time::sleep(SCHEDULE_INTERVAL) => {}
            () = ctx.shutdown.cancelled() => return,
        }
    }
}

async fn cleanup(ctx: AppContext) {
    loop {
        hourly_tasks(&ctx).await;
        tokio::select! {
            () = tokio::time::sleep(HOURLY) => {}
            () = ctx.shutdown.cancelled() => return,
        }
    }
}

/// Deletes expired data, completes the totals of usage records, and optimises the database.
async fn hourly_tasks(ctx: &AppContext) {
    if let Err(error) = idempotency::delete_expired(ctx).await {
        tracing::warn!(cause = %error.chain(), "failed to delete expired idempotency keys");
    }
    if let Err(error) = webhooks::delete_old(ctx).await {
        tracing::warn!(cause = %error.chain(), "failed to delete old deliveries of webhooks");
    }
    if let Err(error) = webhooks::find_stopped_usage(ctx).await {
        tracing::warn!(cause = %error.chain(), "failed to check for stopped usage");
    }
    if let Err(error) = push::refresh_invoice_dates(ctx).await {
        tracing::warn!(cause = %error.chain(), "failed to read invoice dates");
    }
    match totals::complete(ctx).await {
        Ok(0) => {}
        Ok(completed) => tracing::info!(completed, "added usage records to the totals of their months"),
        Err(error) => tracing::warn!(cause = %error.chain(), "failed to complete the totals of usage records"),
    }
    if let Err(error) = ctx.db.optimize().await {
        tracing::warn!(cause = %error.chain(), "failed to update the database's statistics");
    }
}
