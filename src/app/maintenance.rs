//! The commands `backup`, `copy` and `verify`.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::application::StartError;
use super::config::Config;
use crate::app::startup;
use crate::db::{self, DatabaseUrl};
use crate::services::usage::totals::{self, VerifiedTotals};

/// Copies an SQLite database while it is in use.
pub(super) async fn backup(config: &Config, to: PathBuf) -> Result<(), StartError> {
    let (url, file) = (config.database_url.clone(), to.clone());
    tokio::task::spawn_blocking(move || db::backup(&url, &file)).await?.map_err(|error| error.chain())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} is a consistent copy of {}.", to.display(), config.database_url)?;
    remind_of_the_key(&mut out, config.database_url.file())?;
    Ok(())
}

/// Verifies the totals of usage records.
pub(super) async fn verify(config: &Config) -> Result<(), StartError> {
    let db = startup::open(config).await?;
    let VerifiedTotals { compared, differences } = totals::verify(&db).await.map_err(|error| error.chain())?;
    let mut out = std::io::stdout().lock();
    for difference in &differences {
        writeln!(out, "{difference}")?;
    }
    writeln!(out, "{compared} totals of usage records compared, {} differ.", differences.len())?;
    if differences.is_empty() { Ok(()) } else { Err("some totals are wrong: stop pushing, and report this".into()) }
}

/// Copies everything into another database, which may be of the other kind.
pub(super) async fn copy(from: DatabaseUrl, to: DatabaseUrl) -> Result<(), StartError> {
    let (source, target) = (from.clone(), to.clone());
    let copied =
        tokio::task::spawn_blocking(move || db::copy(&source, &target)).await?.map_err(|error| error.chain())?;
    let mut out = std::io::stdout().lock();
    for one in &copied {
        writeln!(out, "{:>10}  {}", one.rows, one.table)?;
    }
    let rows: usize = copied.iter().map(|one| one.rows).sum();
    writeln!(out, "{rows} rows of {} tables are in {to}, each compared with {from}.", copied.len())?;
    remind_of_the_key(&mut out, from.file())?;
    Ok(())
}

/// Reminds the operator that encrypted values can only be decrypted with the same key.
fn remind_of_the_key(out: &mut impl Write, database: Option<&Path>) -> std::io::Result<()> {
    let made = database.map(|file| file.with_extension("key")).filter(|key| key.exists());
    let which = made.map_or_else(|| "the encryption key".to_owned(), |key| key.display().to_string());
    writeln!(out, "The ConnectWise keys in it are encrypted: keep {which} as well, in another place.")
}
