//! The command line.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::application::StartError;
use super::config::{Config, ConfigErrors};
use super::telemetry::LogFormat;
use super::{demo, maintenance, startup, telemetry};
use crate::db::DatabaseUrl;

/// Turns a vendor's measured usage into exact quantities on ConnectWise PSA agreement additions.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log: a level, or a list such as info,connectwise_billing=debug
    ///
    /// Default: info; for the demo, warn
    #[arg(long, env = "CWB_LOG", value_name = "FILTER", global = true)]
    log: Option<String>,
    /// The format of log lines
    #[arg(long, env = "CWB_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value = "text", global = true)]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API and run the worker, until stopped
    ///
    /// The first start on an empty database creates a tenant and prints its API key, once.
    Serve(Box<Config>),
    /// Run a demo: a ConnectWise stand-in, a sample tenant, and one month's push, all in this process
    ///
    /// Needs no account. Its data stay in a folder, so that a second run continues where the first ended.
    Demo(demo::Options),
    /// Run only the ConnectWise stand-in
    Sandbox {
        /// The address to listen on; it must be a loopback address
        #[arg(long, env = "CWB_SANDBOX_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
        listen: SocketAddr,
        /// Keep its records in this file; without it they are lost at the end
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
    },
    /// Migrate the database to the current schema and exit; serve migrates too
    Migrate(Box<Config>),
    /// Create an API key for a tenant, in case all keys were lost
    CreateKey {
        #[command(flatten)]
        config: Box<Config>,
        /// The tenant's id; may be left out if there is only one tenant
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
        /// The key's name, which histories record as the user
        #[arg(long, value_name = "NAME", default_value = "command line")]
        name: String,
    },
    /// Add up all usage records again, and compare the result with the stored totals
    ///
    /// The service may run meanwhile. Prints what differs, and then fails.
    Verify(Box<Config>),
    /// Copy an SQLite database into a new file, while it is in use
    Backup {
        #[command(flatten)]
        config: Box<Config>,
        /// The file to create
        #[arg(long, value_name = "PATH")]
        to: PathBuf,
    },
    /// Copy everything into an empty database, SQLite or PostgreSQL, and compare every row
    ///
    /// No process may serve from either meanwhile. If the copy fails, the target has empty tables.
    Copy {
        /// The database to copy from
        #[arg(long, value_name = "URL")]
        from: DatabaseUrl,
        /// The database to copy to
        #[arg(long, value_name = "URL")]
        to: DatabaseUrl,
    },
    /// Print the OpenAPI document
    Openapi,
}

impl Command {
    /// The settings to check before the command runs, if any.
    fn config(&self) -> Option<&Config> {
        match self {
            Self::Serve(config) => Some(config),
            _ => None,
        }
    }
}

/// Runs the command. Prints all errors in the settings at once.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let quiet = matches!(cli.command, Command::Demo(_));
    let filter = cli.log.as_deref().unwrap_or(if quiet { "warn" } else { "info" });
    let logs = telemetry::start_logs(filter, cli.log_format);
    let settings = cli.command.config().map_or(Ok(()), Config::check);
    let wrong: Vec<String> =
        logs.err().into_iter().chain(settings.err().into_iter().flat_map(|errors| errors.0)).collect();
    if !wrong.is_empty() {
        let _ = writeln!(std::io::stderr(), "connectwise-billing: {}", ConfigErrors(wrong));
        return ExitCode::FAILURE;
    }
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(StartError::from)
        .and_then(|runtime| runtime.block_on(execute(cli.command)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "connectwise-billing: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command) -> Result<(), StartError> {
    match command {
        Command::Serve(config) => startup::serve(&config).await,
        Command::Demo(options) => demo::run(&options).await,
        Command::Sandbox { listen, file } => startup::sandbox(listen, file).await,
        Command::Migrate(config) => startup::migrate(&config).await,
        Command::CreateKey { config, tenant, name } => startup::create_key(&config, tenant, name).await,
        Command::Verify(config) => maintenance::verify(&config).await,
        Command::Backup { config, to } => maintenance::backup(&config, to).await,
        Command::Copy { from, to } => maintenance::copy(from, to).await,
        Command::Openapi => Ok(write!(std::io::stdout(), "{}", crate::http::document())?),
    }
}
