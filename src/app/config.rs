//! Settings: the one definition of flags, environment variables and their `--help`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret, SecretString};

use crate::connectwise;
use crate::db::DatabaseUrl;
use crate::http::{self, BodyLimits};
use crate::services;
use crate::services::security::encryption::{Vault, VaultError};

/// A part of the service's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Serves the API.
    Http,
    /// Processes push jobs, and sends webhooks.
    Worker,
    /// Starts the scheduled pushes, and runs hourly tasks, such as deleting expired data.
    Scheduler,
}

/// The settings of the service.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// The database: sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE
    #[arg(
        long,
        env = "CWB_DATABASE_URL",
        value_name = "URL",
        default_value = "sqlite:data/connectwise-billing.db",
        hide_env_values = true
    )]
    pub database_url: DatabaseUrl,
    /// The roles of this process, which replicas on one PostgreSQL can divide; all serve health and metrics
    #[arg(
        long,
        env = "CWB_ROLES",
        value_name = "ROLES",
        value_enum,
        value_delimiter = ',',
        default_value = "http,worker,scheduler"
    )]
    pub roles: Vec<Role>,
    /// Maximum number of database connections
    #[arg(long, env = "CWB_DATABASE_CONNECTIONS", value_name = "N", default_value_t = 8)]
    pub database_connections: u32,
    /// The address to listen on; port 0 takes any free port
    #[arg(long, env = "CWB_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Number of threads that handle HTTP requests
    #[arg(long, env = "CWB_HTTP_THREADS", value_name = "N", default_value_t = 2)]
    pub http_threads: usize,
    /// Origins whose pages may call the API from a browser, such as `https://billing.example.com`, separated by commas
    #[arg(long, env = "CWB_CORS_ORIGINS", value_name = "ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
    /// Reject changes and deletions that do not say which version they are meant for (`If-Match`), with 428
    #[arg(long, env = "CWB_REQUIRE_VERSIONS")]
    pub require_versions: bool,
    /// Leave out the console, the page at /console/
    #[arg(long, env = "CWB_NO_CONSOLE")]
    pub no_console: bool,
    /// The key to manage tenants over HTTP; without it, /api/v1/tenants is disabled
    #[arg(long, env = "CWB_OPERATOR_KEY", value_name = "KEY", hide_env_values = true)]
    pub operator_key: Option<SecretString>,
    /// The key that encrypts ConnectWise keys
    #[command(flatten)]
    pub encryption_key: EncryptionKey,
    /// Maximum age of records read from ConnectWise, in seconds; older ones are read again
    #[arg(long, env = "CWB_REFRESH_MAX_AGE", value_name = "SECONDS", default_value_t = 900)]
    pub refresh_max_age: u32,
    /// Maximum delay of a scheduled push after an outage, in hours
    #[arg(long, env = "CWB_SCHEDULE_MAX_LATE", value_name = "HOURS", default_value_t = 168)]
    pub schedule_max_late: u32,
    /// Number of workers that push at the same time
    #[arg(long, env = "CWB_WORKERS", value_name = "N", default_value_t = 16)]
    pub workers: usize,
    /// Time without a sign of life after which another worker takes over a worker's lines, in seconds
    #[arg(long, env = "CWB_LEASE", value_name = "SECONDS", default_value_t = 90)]
    pub lease: u32,
    /// Maximum number of requests per minute to each ConnectWise
    #[arg(long, env = "CWB_CONNECTWISE_PER_MINUTE", value_name = "N", default_value = "900")]
    pub connectwise_per_minute: NonZeroU32,
    /// Maximum number of concurrent requests to each ConnectWise
    #[arg(long, env = "CWB_CONNECTWISE_PARALLEL", value_name = "N", default_value_t = 4)]
    pub connectwise_parallel: usize,
    /// Timeout of one request to ConnectWise, in seconds
    #[arg(long, env = "CWB_CONNECTWISE_TIMEOUT", value_name = "SECONDS", default_value_t = 30)]
    pub connectwise_timeout: u32,
    /// Wait before the first retry of a failed request to ConnectWise, in milliseconds; it doubles with each retry
    #[arg(long, env = "CWB_CONNECTWISE_FIRST_WAIT", value_name = "MS", default_value_t = 300)]
    pub connectwise_first_wait: u32,
    /// Timeout for receiving the body of a request, in seconds
    #[arg(long, env = "CWB_BODY_TIMEOUT", value_name = "SECONDS", default_value_t = 300)]
    pub body_timeout: u32,
    /// Maximum memory for the bodies of all requests together, in MiB
    #[arg(long, env = "CWB_BODY_MEMORY", value_name = "MIB", default_value_t = 128)]
    pub body_memory: u32,
    /// Allow ConnectWise sites on private networks, and plain http: for on-premises servers and tests
    #[arg(long, env = "CWB_ALLOW_PRIVATE_CONNECTWISE")]
    pub allow_private_connectwise: bool,
    /// Allow webhooks to private networks, and by plain http: for tests, and for receivers in the operator's network
    #[arg(long, env = "CWB_ALLOW_PRIVATE_WEBHOOKS")]
    pub allow_private_webhooks: bool,
}

/// The key that encrypts ConnectWise keys in the database.
#[derive(Debug, Clone, Default, Args)]
pub struct EncryptionKey {
    /// The key that encrypts ConnectWise keys and webhooks' secrets in the database: 32 random bytes in base64; append
    /// older keys after commas
    #[arg(
        id = "encryption_key",
        long = "encryption-key",
        env = "CWB_ENCRYPTION_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub key: Option<SecretString>,
    /// The same, in a file; with SQLite, a file beside the database is used, or created, if no key is given
    #[arg(long, env = "CWB_ENCRYPTION_KEY_FILE", value_name = "PATH")]
    pub encryption_key_file: Option<PathBuf>,
}

/// All errors in the settings, for the person who starts the service.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\nconnectwise-billing: "))]
pub struct ConfigErrors(pub Vec<String>);

/// Where the encryption key comes from.
enum KeySource<'c> {
    Given(&'c SecretString),
    File(PathBuf),
}

/// Whether a text is an origin as browsers send it: scheme, host and, if it is not the usual one, port.
fn is_origin(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| url.origin().is_tuple() && url.origin().ascii_serialization() == text)
}

/// Bytes in a MiB.
const MIB: u64 = 1024 * 1024;

impl Config {
    /// The default settings with the given database, on any free loopback port. Reads no environment variables.
    pub fn local(database_url: DatabaseUrl) -> Self {
        Self {
            database_url,
            roles: vec![Role::Http, Role::Worker, Role::Scheduler],
            database_connections: 8,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            http_threads: 2,
            cors_origins: Vec::new(),
            require_versions: false,
            no_console: false,
            operator_key: None,
            encryption_key: EncryptionKey::default(),
            refresh_max_age: 900,
            schedule_max_late: 168,
            workers: 16,
            lease: 90,
            connectwise_per_minute: NonZeroU32::MIN.saturating_add(899),
            connectwise_parallel: 4,
            connectwise_timeout: 30,
            connectwise_first_wait: 300,
            body_timeout: 300,
            body_memory: 128,
            allow_private_connectwise: false,
            allow_private_webhooks: false,
        }
    }

    /// Whether this process has a role.
    pub(super) fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Returns all errors in the settings. Creates the folder of an SQLite database if it is missing.
    pub(super) fn check(&self) -> Result<(), ConfigErrors> {
        let mut wrong = self.invalid_numbers();
        let all = [Role::Http, Role::Worker, Role::Scheduler].into_iter().all(|role| self.has(role));
        match self.database_url.file().map(Path::parent) {
            Some(_) if !all => {
                wrong
                    .push("on SQLite one process does all of http, worker and scheduler: leave --roles out".to_owned());
            }
            // A path without a folder is in the current one, which exists.
            Some(Some(folder)) if !folder.as_os_str().is_empty() => {
                let made = std::fs::create_dir_all(folder);
                wrong.extend(made.err().map(|cause| {
                    format!("--database-url: the folder {} is missing and cannot be made: {cause}", folder.display())
                }));
            }
            _ => {}
        }
        wrong.extend(self.cors_origins().iter().filter(|origin| !is_origin(origin)).map(|origin| {
            format!("--cors-origins: \"{origin}\" is not an origin: write it as https://billing.example.com")
        }));
        if self.operator_key.as_ref().is_some_and(|key| (1..16).contains(&key.expose_secret().len())) {
            wrong.push("--operator-key must have at least 16 characters".to_owned());
        }
        if self.key_source().is_none() {
            let message =
                "with PostgreSQL, give --encryption-key or --encryption-key-file: every replica needs the same key";
            wrong.push(message.to_owned());
        } else if wrong.is_empty()
            && let Err(error) = self.vault()
        {
            wrong.push(error.to_string());
        }
        if wrong.is_empty() { Ok(()) } else { Err(ConfigErrors(wrong)) }
    }

    /// Returns errors for numbers with which the service could not work.
    fn invalid_numbers(&self) -> Vec<String> {
        let at_least_one = [
            ("--database-connections", u64::from(self.database_connections)),
            ("--http-threads", self.http_threads as u64),
            ("--workers", self.workers as u64),
            ("--connectwise-parallel", self.connectwise_parallel as u64),
            ("--connectwise-timeout", u64::from(self.connectwise_timeout)),
            ("--body-timeout", u64::from(self.body_timeout)),
            ("--schedule-max-late", u64::from(self.schedule_max_late)),
        ];
        let zero = at_least_one.iter().filter(|(_, number)| *number == 0);
        let mut wrong: Vec<String> = zero.map(|(name, _)| format!("{name} must be at least 1")).collect();
        if u64::from(self.body_memory) * MIB < http::LARGEST_BODY as u64 {
            wrong.push(format!("--body-memory must be at least {}: the largest body", http::LARGEST_BODY as u64 / MIB));
        }
        // No request is sent in the last timeout of a lease, so the lease must be longer to send any at all.
        let needed = self.connectwise_timeout.saturating_mul(2);
        if self.lease <= needed {
            wrong.push(format!(
                "--lease must be longer than {needed} s, twice --connectwise-timeout: requests must end before it does"
            ));
        }
        wrong
    }

    /// The limits on reading request bodies.
    pub(super) fn body_limits(&self) -> BodyLimits {
        let memory = usize::try_from(u64::from(self.body_memory) * MIB).unwrap_or(usize::MAX);
        BodyLimits::new(Duration::from_secs(u64::from(self.body_timeout)), memory)
    }

    /// The origins whose pages may call the API. Empty ones count as none.
    pub(super) fn cors_origins(&self) -> Vec<String> {
        let given = self.cors_origins.iter().map(|origin| origin.trim().to_owned());
        given.filter(|origin| !origin.is_empty()).collect()
    }

    /// The operator's key. An empty one counts as none: an unset variable in a compose file is empty.
    pub(super) fn operator_key(&self) -> Option<SecretString> {
        self.operator_key.clone().filter(|key| !key.expose_secret().is_empty())
    }

    /// The vault that encrypts secrets. Errors if the key is missing, unreadable or invalid.
    pub(super) fn vault(&self) -> Result<Vault, VaultError> {
        match self.key_source() {
            Some(KeySource::Given(key)) => Vault::new(key),
            Some(KeySource::File(file)) => Vault::from_file(&file),
            None => Err(VaultError::NoKey),
        }
    }

    /// Where the encryption key comes from. `None` only for PostgreSQL: SQLite has a default file beside the database.
    fn key_source(&self) -> Option<KeySource<'_>> {
        if let Some(key) = self.encryption_key.key.as_ref().filter(|key| !key.expose_secret().is_empty()) {
            return Some(KeySource::Given(key));
        }
        let beside = || self.database_url.file().map(|file| file.with_extension("key"));
        self.encryption_key.encryption_key_file.clone().or_else(beside).map(KeySource::File)
    }

    /// The settings of the services.
    pub(super) fn services(&self) -> services::Settings {
        services::Settings {
            refresh_max_age: TimeDelta::seconds(i64::from(self.refresh_max_age)),
            schedule_max_late: TimeDelta::hours(i64::from(self.schedule_max_late)),
            lease: TimeDelta::seconds(i64::from(self.lease)),
            connectwise: connectwise::Settings {
                per_minute: self.connectwise_per_minute,
                parallel: self.connectwise_parallel,
                timeout: Duration::from_secs(u64::from(self.connectwise_timeout)),
                first_wait: Duration::from_millis(u64::from(self.connectwise_first_wait)),
                allow_private: self.allow_private_connectwise,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for origin in ["https://billing.example.com", "http://localhost:5173"] {
            assert!(is_origin(origin), "{origin}");
        }
        for other in [
            "https://billing.example.com/",
            "https://billing.example.com:443",
            "https://Billing.example.com",
            "billing.example.com",
            "null",
            "*",
        ] {
            assert!(!is_origin(other), "{other}");
        }
    }
}
