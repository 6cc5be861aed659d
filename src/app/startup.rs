//! The commands `serve`, `migrate`, `sandbox` and `create-key`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::application::{Application, StartError};
use super::config::Config;
use crate::db::Db;
use crate::domain::clock::Clock;
use crate::domain::ids::TenantId;
use crate::sandbox::{Identity, Sandbox, Store, sample};
use crate::services::security::api_keys;
use crate::services::security::audit::Audit;

/// Serves until the process is stopped.
pub(super) async fn serve(config: &Config) -> Result<(), StartError> {
    let mut application = Application::build(config, Clock::system()).await?;
    stop_on_signals(application.stop_token())?;
    let address = application.address();
    let mut out = std::io::stdout().lock();
    if let Some(key) = application.first_key() {
        writeln!(out, "Created a tenant with this API key. It is shown only once:\n\n    {key}\n")?;
    }
    if let Some(console) = application.console() {
        writeln!(out, "Console: {console}")?;
    }
    if application.serves_api() {
        writeln!(out, "Listening on http://{address} (Swagger UI: http://{address}/swagger-ui/)")?;
    } else {
        writeln!(out, "Listening on http://{address} (health and metrics only)")?;
    }
    out.flush()?;
    drop(out);
    application.run().await
}

/// Cancels the token on Ctrl-C or SIGTERM. Call it before printing that the service listens.
pub(super) fn stop_on_signals(stop: CancellationToken) -> Result<(), StartError> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    Ok(())
}

pub(super) async fn open(config: &Config) -> Result<Db, StartError> {
    let (url, connections) = (config.database_url.clone(), config.database_connections);
    Ok(tokio::task::spawn_blocking(move || Db::open(&url, connections)).await?.map_err(|error| error.chain())?)
}

/// Migrates the database to the current schema.
pub(super) async fn migrate(config: &Config) -> Result<(), StartError> {
    let applied = open(config).await?.migrate().await.map_err(|error| error.chain())?;
    let mut out = std::io::stdout().lock();
    match applied.len() {
        0 => writeln!(out, "{} is up to date", config.database_url)?,
        count => writeln!(out, "{count} migration(s) applied to {}", config.database_url)?,
    }
    Ok(())
}

/// Creates another API key for a tenant, in case all keys were lost.
pub(super) async fn create_key(config: &Config, tenant: Option<String>, name: String) -> Result<(), StartError> {
    let (db, now) = (open(config).await?, Clock::system().now());
    db.migrate().await.map_err(|error| error.chain())?;
    let tenants = db.read_system(|tx| tx.tenants()).await.map_err(|error| error.chain())?;
    let wanted = tenant.map(TenantId::from);
    let mut fitting = tenants.iter().filter(|known| wanted.as_ref().is_none_or(|id| *id == known.id));
    let tenant = match (fitting.next(), fitting.next()) {
        (Some(only), None) => only.id.clone(),
        (None, _) => return Err("the tenant does not exist".into()),
        (Some(_), Some(_)) => {
            let list: Vec<String> = tenants.iter().map(|known| format!("{}  {}", known.id, known.name)).collect();
            return Err(format!("choose one of the tenants with --tenant:\n{}", list.join("\n")).into());
        }
    };
    let audit = Audit::internal(&tenant, "command line", now);
    let key = db.write(&tenant, move |tx| api_keys::add(tx, &name, &audit)).await.map_err(|error| error.chain())?;
    writeln!(std::io::stdout().lock(), "{}", key.plain)?;
    Ok(())
}

/// Runs only the sandbox.
pub(super) async fn sandbox(listen: SocketAddr, file: Option<PathBuf>) -> Result<(), StartError> {
    let make = || sample::small(super::demo_products::storage_blocks);
    let store = match file {
        Some(file) => Store::load_or(file, make)?,
        None => make(),
    };
    let sandbox = Sandbox::start(std::net::TcpListener::bind(listen)?, store, Identity::default())?;
    let (site, identity) = (sandbox.site(), sandbox.identity().clone());
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "A stand-in for ConnectWise is at {site}. Run serve with --allow-private-connectwise and connect with:\n"
    )?;
    writeln!(
        out,
        "    {{\"site\": \"{site}\", \"company_id\": \"{}\", \"public_key\": \"{}\", \"private_key\": \"{}\", \"client_id\": \"{}\"}}\n",
        identity.company_id, identity.public_key, identity.private_key, identity.client_id
    )?;
    writeln!(out, "Its requests: {site}/_sandbox/ledger")?;
    out.flush()?;
    drop(out);
    stop.cancelled().await;
    sandbox.stop().await;
    Ok(())
}
