//! The demo: one month's billing in one process, from an empty database to quantities in ConnectWise.

use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::application::{Application, StartError};
use super::config::Config;
use super::demo_tenant::DemoTenant;
use super::{demo_examples, demo_products, demo_table};
use crate::app::startup::stop_on_signals;
use crate::db::DatabaseUrl;
use crate::domain::clock::Clock;
use crate::domain::ids::PushJobId;
use crate::domain::push::JobState;
use crate::domain::push::PushKind;
use crate::sandbox::{Identity, Sandbox, Store, sample as connectwise};
use crate::services::push;
use crate::services::push::Progress;

const API_PORT: u16 = 8080;
const SANDBOX_PORT: u16 = 8081;
/// Width of the tables when the output is not a terminal.
const WIDTH: u16 = 180;

/// Options of the demo.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The folder of the demo's data; delete it to start over
    #[arg(long, value_name = "PATH", default_value = "data/demo")]
    data_dir: PathBuf,
    /// The address of the API; default: port 8080, or a free port if that is taken
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The address of the ConnectWise stand-in; default: port 8081, or a free port if that is taken
    #[arg(long, value_name = "ADDRESS")]
    sandbox_listen: Option<SocketAddr>,
    /// Use this database instead of an SQLite file in the folder
    #[arg(long, value_name = "URL")]
    database_url: Option<DatabaseUrl>,
    /// Origins whose pages may call the API from a browser, separated by commas
    #[arg(long, env = "CWB_CORS_ORIGINS", value_name = "ORIGINS", value_delimiter = ',')]
    cors_origins: Vec<String>,
    /// Print every line of the push, not only those that need attention
    #[arg(long)]
    all: bool,
}

/// Prints a line to standard output.
fn say(text: impl std::fmt::Display) -> Result<(), StartError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Runs the demo, then serves until the process is stopped.
pub(super) async fn run(options: &Options) -> Result<(), StartError> {
    std::fs::create_dir_all(&options.data_dir)?;
    let records = options.data_dir.join("sandbox.json");
    let again = records.exists();
    let store = Store::load_or(records, || connectwise::small(demo_products::storage_blocks))?;
    let sandbox = Sandbox::start(bind(options.sandbox_listen, SANDBOX_PORT)?, store, Identity::default())?;
    let application = Application::build(&config(options)?, Clock::system()).await?;
    let (address, stop, examples) = (application.address(), application.stop_token(), application.example_ids());
    stop_on_signals(stop.clone())?;
    let tenant = DemoTenant::new(application.context().clone()).await?;
    let key = tenant.new_key().await?;
    say(format!("The console is at http://{address}/console/, with the key {key}"))?;
    let running = tokio::spawn(application.run());

    let shown = tokio::select! {
        shown = show(&tenant, &sandbox, again, options.all) => shown,
        () = stop.cancelled() => Ok(()),
    };
    if let Err(error) = shown {
        stop.cancel();
        running.await??;
        return Err(error);
    }
    if !stop.is_cancelled() {
        examples.set(demo_examples::ids(&tenant).await?);
        print_next_steps(&tenant, address, &sandbox.site(), &key).await?;
    }
    running.await??;
    sandbox.stop().await;
    say("Stopped.")
}

fn config(options: &Options) -> Result<Config, StartError> {
    let url = match &options.database_url {
        Some(url) => url.clone(),
        None => format!("sqlite:{}", options.data_dir.join("demo.db").display()).parse()?,
    };
    let mut config = Config::local(url);
    config.listen = bind(options.listen, API_PORT)?.local_addr()?;
    config.encryption_key.encryption_key_file = Some(options.data_dir.join("demo.key"));
    // The stand-in listens on loopback, with plain HTTP.
    config.allow_private_connectwise = true;
    // People who try the demo receive webhooks on the same machine.
    config.allow_private_webhooks = true;
    // The stand-in does not have ConnectWise's rate limit, so allow 100 times as many requests.
    config.connectwise_per_minute = config.connectwise_per_minute.saturating_mul(NonZeroU32::MIN.saturating_add(99));
    // A short maximum age, so that changes made in the sandbox show soon.
    config.refresh_max_age = 5;
    config.cors_origins.clone_from(&options.cors_origins);
    config.check()?;
    Ok(config)
}

/// Binds the requested address. Without one, binds the usual port on loopback, or a free one if that is taken.
fn bind(asked: Option<SocketAddr>, usual: u16) -> Result<TcpListener, StartError> {
    let at = asked.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, usual)));
    match TcpListener::bind(at) {
        Ok(listener) => Ok(listener),
        Err(_) if asked.is_none() => Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?),
        Err(cause) => Err(format!("cannot listen on {at}: {cause}").into()),
    }
}

async fn show(tenant: &DemoTenant, sandbox: &Sandbox, again: bool, all: bool) -> Result<(), StartError> {
    say(if again { "Continuing where the last demo ended.\n" } else { "A new demo.\n" })?;
    tenant.connect(sandbox).await?;
    say(format!("1. Connected to ConnectWise (a stand-in, at {}).", sandbox.site()))?;
    let (companies, added) = tenant.add_companies_and_products().await?;
    say(format!("2. {companies} companies and 3 products, with their matching rules; {added} of them new."))?;
    let matched = tenant.match_companies().await?;
    say(format!("3. Matched companies: {matched}."))?;
    for line in tenant.resolve().await? {
        say(format!("4. Resolved {line}"))?;
    }
    tenant.choose_by_hand().await?;
    say(format!("5. Chose an agreement by hand for {}.", connectwise::CUSTOMERS[connectwise::MANUAL]))?;
    say(format!("6. Usage taken in: {}.", tenant.take_in_usage().await?))?;
    let stale = tenant.cancel_an_agreement(sandbox).await?;
    say(format!("7. Meanwhile, an agreement of {stale} was cancelled in ConnectWise."))?;
    let preview = run_job(tenant, PushKind::DryRun, "8. Preview").await?;
    say(format!("8. Preview: {} would be written, {} are up to date already.", preview.would_push, preview.unchanged))?;
    let id = start_job(tenant, PushKind::Push).await?;
    let done = watch(tenant, &id, "9. Push   ").await?;
    say(format!("9. Pushed, in {:.1} s.\n", seconds(&done)))?;
    print_lines(tenant, &id, &done, all).await?;
    say(demo_table::summary(&done))
}

/// Prints the results of all lines, or only of those that need attention.
async fn print_lines(tenant: &DemoTenant, id: &PushJobId, done: &Progress, all: bool) -> Result<(), StartError> {
    let tables = if all {
        demo_table::by_product(tenant, id).await?
    } else {
        let tables = demo_table::exceptions(tenant, id).await?;
        let exceptions: usize = tables.iter().map(|table| table.rows.len()).sum();
        say(format!("{exceptions} of {} lines need attention. demo --all prints every line.\n", done.job.line_count))?;
        tables
    };
    for lines in tables {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(demo_table::HEADER);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        if !std::io::stdout().is_terminal() {
            table.set_width(WIDTH);
        }
        table.add_rows(lines.rows);
        say(format!("{}\n{table}\n", lines.heading))?;
    }
    Ok(())
}

fn seconds(progress: &Progress) -> f64 {
    let job = &progress.job;
    let taken = job.finished_at.zip(job.started_at).map(|(end, start)| end - start);
    taken.and_then(|taken| taken.to_std().ok()).map_or(0.0, |taken| taken.as_secs_f64())
}

struct Preview {
    would_push: i64,
    unchanged: i64,
}

async fn run_job(tenant: &DemoTenant, kind: PushKind, title: &'static str) -> Result<Preview, StartError> {
    let id = start_job(tenant, kind).await?;
    let done = watch(tenant, &id, title).await?;
    let count = |state| done.counts.get(&state).copied().unwrap_or_default();
    use crate::domain::push::PushLineState;
    Ok(Preview { would_push: count(PushLineState::WouldPush), unchanged: count(PushLineState::Unchanged) })
}

async fn start_job(tenant: &DemoTenant, kind: PushKind) -> Result<PushJobId, StartError> {
    let id = tenant.start_push(kind).await?;
    tenant.ctx.wake_worker();
    Ok(id)
}

/// Shows a progress bar until a job has ended or waits for approval.
async fn watch(tenant: &DemoTenant, id: &PushJobId, title: &'static str) -> Result<Progress, StartError> {
    let mut progress = push::subscribe(&tenant.ctx, &tenant.actor.tenant, id).await.map_err(|e| e.chain())?;
    let total = u64::try_from(progress.borrow().job.line_count).unwrap_or_default();
    let style = ProgressStyle::with_template("{prefix} [{bar:40}] {pos}/{len} lines, {elapsed} ({msg})")?;
    let bar = ProgressBar::new(total).with_style(style.progress_chars("=> ")).with_prefix(title);
    loop {
        let now = progress.borrow_and_update().clone();
        bar.set_position(u64::try_from(now.done()).unwrap_or_default());
        bar.set_message(now.job.state.as_str());
        if now.job.state.is_final() || now.job.state == JobState::WaitingForApproval {
            bar.finish_and_clear();
            return Ok(now);
        }
        progress.changed().await?;
    }
}

/// Prints the addresses, the key, and commands to try.
async fn print_next_steps(tenant: &DemoTenant, address: SocketAddr, site: &str, key: &str) -> Result<(), StartError> {
    let api = format!("http://{address}/api/v1");
    let product = tenant.storage_product().await?;
    let curl = format!("curl -s -H 'Authorization: Bearer {key}'");
    let preview =
        json!({"product_id": product, "target": "agreement", "expression": "name contains \"Backup\"", "limit": 3});
    say(format!(
        "\nThe service keeps running at http://{address}\n\
         Console:      http://{address}/console/\n\
         Swagger UI:   http://{address}/swagger-ui/\n\
         API key:      {key}\n\
         ConnectWise:  {site}/_sandbox/ledger lists its requests\n\n\
         Try it:\n\
         # the lines that need a decision\n\
         {curl} '{api}/billing-lines?product_id={product}&agreement_status=ambiguous'\n\
         # what another rule would do, without saving it\n\
         {curl} -H 'Content-Type: application/json' -d '{preview}' {api}/matching-rules/preview\n\
         # what a push would write now\n\
         {curl} -X POST -H 'Content-Type: application/json' -d '{{\"dry_run\": true}}' {api}/push-jobs\n\
         # the last pushes\n\
         {curl} '{api}/push-jobs?limit=2'\n\n\
         Press Ctrl-C to stop."
    ))
}
