//! The service as a whole: builds, runs and stops it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::config::{Config, Role};
use super::telemetry;
use crate::db::{Db, InstanceLock, SystemTx};
use crate::domain::clock::Clock;
use crate::http::{ExampleIds, HttpSettings, Server};
use crate::outgoing::WebhookSender;
use crate::services::security::api_keys;
use crate::services::{AppContext, LoopCount, StepResult};
use crate::worker::{BackgroundTasks, Worker};

/// Why the service or a command failed.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

/// The service, bound to its address and ready to run.
pub struct Application {
    ctx: AppContext,
    server: Server,
    worker: Worker,
    example_ids: ExampleIds,
    first_key: Option<String>,
    instance_lock: InstanceLock,
}

impl Application {
    /// Opens and migrates the database, and binds the address. On an empty database, a process that serves the API also
    /// creates a tenant and an API key (see [`Application::first_key`]).
    pub async fn build(config: &Config, clock: Clock) -> Result<Self, StartError> {
        // There is only one provider. A second installation (in tests) fails and changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Before the first database connection, so that its statements are counted.
        let metrics = telemetry::metrics();
        config.check()?;
        let settings = config.services();
        let vault = config.vault()?;
        let listener =
            TcpListener::bind(config.listen).map_err(|cause| format!("cannot listen on {}: {cause}", config.listen))?;
        let instance_lock = InstanceLock::take(&config.database_url).map_err(|error| error.chain())?;
        let ctx = AppContext {
            db: open_database(config).await?,
            clock,
            vault: Arc::new(vault),
            clients: Arc::default(),
            wake: Arc::new(Notify::new()),
            turns: Arc::default(),
            webhooks: Arc::new(WebhookSender::new(config.allow_private_webhooks)?),
            wake_deliveries: Arc::new(Notify::new()),
            delivery_turns: Arc::default(),
            refreshing: Arc::default(),
            push_loops: LoopCount::default(),
            schedule_loops: LoopCount::default(),
            watched: Arc::default(),
            known_keys: Arc::default(),
            new_rows: Arc::default(),
            rejected_keys: Arc::default(),
            shutdown: CancellationToken::new(),
            settings: Arc::new(settings),
        };
        if config.database_url.file().is_some() {
            end_leases(&ctx).await?;
        }
        let serves_api = config.has(Role::Http);
        // Only a process that serves the API creates a key, because people read its output.
        let first_key =
            if serves_api { api_keys::bootstrap_tenant(&ctx).await.map_err(|error| error.chain())? } else { None };
        let first_key = first_key.map(|key| key.plain);
        let http = HttpSettings {
            operator_key: config.operator_key(),
            cors_origins: config.cors_origins(),
            require_versions: config.require_versions,
            serves_api,
            serves_console: !config.no_console,
            threads: config.http_threads,
            body_limits: config.body_limits(),
            ..metrics
        };
        let example_ids = http.example_ids.clone();
        let server = Server::start(listener, ctx.clone(), http)?;
        let background_tasks =
            BackgroundTasks { push: config.has(Role::Worker), schedule: config.has(Role::Scheduler) };
        let worker = Worker::new(ctx.clone(), config.workers, background_tasks);
        Ok(Self { ctx, server, worker, example_ids, first_key, instance_lock })
    }

    /// The address that the service listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The address of the console, if this process serves it.
    pub fn console(&self) -> Option<String> {
        self.server.serves_console().then(|| format!("http://{}/console/", self.server.address()))
    }

    /// Whether this process serves the API, and not only health and metrics.
    pub fn serves_api(&self) -> bool {
        self.server.serves_api()
    }

    /// The API key created at the first start. Returns it once, to be shown to the operator.
    pub fn first_key(&mut self) -> Option<String> {
        self.first_key.take()
    }

    /// The token that stops the service when cancelled.
    pub fn stop_token(&self) -> CancellationToken {
        self.ctx.shutdown.clone()
    }

    /// The example ids of the served document, for a demo to set.
    pub(super) fn example_ids(&self) -> ExampleIds {
        self.example_ids.clone()
    }

    pub(super) fn context(&self) -> &AppContext {
        &self.ctx
    }

    /// A handle with its own worker, for tests of single steps. Use it with [`Application::run_without_worker`].
    pub fn worker_handle(&self) -> WorkerHandle {
        WorkerHandle(self.worker.another())
    }

    /// Runs the server and the worker until the token is cancelled.
    pub async fn run(self) -> Result<(), StartError> {
        let worker = tokio::spawn(self.worker.run());
        self.ctx.db.exchange_announcements(self.ctx.shutdown.clone());
        Self::serve(self.server, self.ctx.shutdown).await?;
        worker.await?;
        drop(self.instance_lock);
        Ok(())
    }

    /// Runs the server without the worker, until the token is cancelled.
    pub async fn run_without_worker(self) -> Result<(), StartError> {
        Self::serve(self.server, self.ctx.shutdown).await?;
        drop(self.instance_lock);
        Ok(())
    }

    async fn serve(server: Server, stop: CancellationToken) -> Result<(), StartError> {
        let handle = server.handle();
        let waiting = stop.clone();
        let stopper = tokio::spawn(async move {
            waiting.cancelled().await;
            handle.stop(true).await;
        });
        let served = server.run().await;
        // If the server ended for another reason, stop the worker too.
        stop.cancel();
        stopper.await?;
        Ok(served?)
    }
}

/// Opens and migrates the database.
async fn open_database(config: &Config) -> Result<Db, StartError> {
    let (url, connections) = (config.database_url.clone(), config.database_connections);
    let opened = tokio::task::spawn_blocking(move || Db::open(&url, connections)).await?;
    let db =
        opened.map_err(|error| format!("the database {} cannot be used: {}", config.database_url, error.chain()))?;
    for migration in db.migrate().await.map_err(|error| error.chain())? {
        tracing::info!(%migration, "applied a database migration");
    }
    Ok(db)
}

/// Ends the leases of a killed process, because only this process uses the database.
async fn end_leases(ctx: &AppContext) -> Result<(), StartError> {
    let now = ctx.clock.now();
    let end = move |tx: &mut SystemTx<'_>| {
        tx.end_delivery_leases()?;
        tx.end_leases(now)
    };
    let freed = ctx.db.write_system(end).await.map_err(|error| error.chain())?;
    if freed > 0 {
        tracing::info!(lines = freed, "resuming interrupted push lines");
    }
    Ok(())
}

/// Runs single steps of the worker, for tests.
pub struct WorkerHandle(Worker);

impl WorkerHandle {
    /// Claims and processes pending lines of some agreements. Returns whether there were any.
    pub async fn step(&self) -> Result<bool, StartError> {
        Ok(self.0.step().await.map_err(|error| error.chain())? == StepResult::Worked)
    }

    /// Sends some webhooks that are due. Returns whether there were any.
    pub async fn deliver(&self) -> Result<bool, StartError> {
        Ok(self.0.deliver().await.map_err(|error| error.chain())? == StepResult::Worked)
    }

    /// Starts the scheduled pushes that are due. Returns their number.
    pub async fn fire_schedules(&self) -> Result<usize, StartError> {
        Ok(self.0.fire_schedules().await.map_err(|error| error.chain())?)
    }

    /// Returns the number of statements that the process sent to its database, and of writing transactions.
    pub fn database_counts(&self) -> (u64, u64) {
        self.0.database_counts()
    }

    /// Runs the hourly tasks once: deletes expired data, and completes totals.
    pub async fn hourly_tasks(&self) {
        self.0.hourly_tasks().await;
    }

    /// Declares that push loops should run in this process, to test readiness while none does.
    pub fn expect_loops(&self) {
        self.0.expect_loops();
    }

    /// Runs steps until no pending line is due.
    pub async fn run_until_idle(&self) -> Result<(), StartError> {
        while self.step().await? {}
        Ok(())
    }
}
