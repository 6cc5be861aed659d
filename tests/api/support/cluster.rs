//! A separate PostgreSQL for a test, which can be stopped and started, and a proxy to it that can be cut.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use diesel::{Connection, PgConnection, RunQueryDsl};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Stopped and removed on drop.
pub struct Cluster {
    folder: TempDir,
    bin: PathBuf,
    port: u16,
}

impl Cluster {
    pub fn start() -> Self {
        let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let newest = installed.map(|entry| entry.unwrap().path().join("bin")).filter(|bin| bin.join("initdb").exists());
        let bin = newest.max().unwrap_or_default();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Self { folder: tempfile::tempdir().unwrap(), bin, port };
        if is_root() {
            assert!(Command::new("chown").arg("postgres").arg(cluster.folder.path()).status().unwrap().success());
        }
        cluster.run("initdb", &["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]);
        cluster.start_again();
        cluster
    }

    /// PostgreSQL refuses to run as root.
    fn run(&self, tool: &str, arguments: &[&str]) {
        let tool = self.bin.join(tool);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(tool);
            command
        } else {
            Command::new(tool)
        };
        command.args(["-D", &self.folder.path().join("data").display().to_string()]).args(arguments).current_dir("/");
        // Always at the real time: under libfaketime PostgreSQL's timeouts never come, and a stopped process would
        // keep its locks.
        command.env_remove("LD_PRELOAD");
        // Its log goes to a file: a pipe would be held open by the server.
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("tools.log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        assert!(command.status().unwrap().success(), "{command:?}");
    }

    pub fn start_again(&self) {
        let folder = self.folder.path().display();
        let options =
            format!("-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off", self.port);
        self.run("pg_ctl", &["-w", "-l", &format!("{folder}/log"), "-o", &options, "start"]);
    }

    /// Stops it as a crash would.
    pub fn stop(&self) {
        self.run("pg_ctl", &["-m", "immediate", "stop"]);
    }

    /// Creates a database; returns its address at a port, its own or a proxy's.
    pub fn database(&self, name: &str) -> impl Fn(u16) -> String + use<> {
        let at = |name: &str, port: u16| format!("postgres://postgres@127.0.0.1:{port}/{name}?sslmode=disable");
        let mut admin = PgConnection::establish(&at("postgres", self.port)).unwrap();
        diesel::sql_query(format!("CREATE DATABASE {name} TEMPLATE template0")).execute(&mut admin).unwrap();
        let name = name.to_owned();
        move |port| at(&name, port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The file to which the server logs.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        } else {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.stop()));
        }
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

/// Passes connections on to a port, until they are cut.
pub struct Way {
    pub port: u16,
    open: Arc<Mutex<Vec<AbortHandle>>>,
    closed: Arc<AtomicBool>,
    frozen: Arc<watch::Sender<bool>>,
}

enum Passed {
    All,
    Frozen,
}

/// Forwards until one side ends, or forwarding stops.
async fn pass(here: &mut TcpStream, there: &mut TcpStream, frozen: &watch::Sender<bool>) -> Passed {
    let mut freezing = frozen.subscribe();
    tokio::select! {
        biased;
        _ = freezing.wait_for(|frozen| *frozen) => Passed::Frozen,
        _ = tokio::io::copy_bidirectional(here, there) => Passed::All,
    }
}

impl Way {
    pub async fn to(port: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Self {
            port: listener.local_addr().unwrap().port(),
            open: Arc::default(),
            closed: Arc::default(),
            frozen: Arc::new(watch::Sender::new(false)),
        };
        let (open, closed, frozen) = (way.open.clone(), way.closed.clone(), way.frozen.clone());
        tokio::spawn(async move {
            loop {
                let (mut here, _) = listener.accept().await.unwrap();
                if closed.load(Ordering::SeqCst) {
                    continue;
                }
                let frozen = frozen.clone();
                let passing = tokio::spawn(async move {
                    let Ok(mut there) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    while let Passed::Frozen = pass(&mut here, &mut there, &frozen).await {
                        frozen.subscribe().wait_for(|frozen| !frozen).await.unwrap();
                    }
                });
                open.lock().unwrap().push(passing.abort_handle());
            }
        });
        way
    }

    /// Silently stops forwarding, like a network that loses every packet; or resumes.
    pub fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    /// Rejects new connections, or accepts them again.
    pub fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
        if closed {
            self.cut();
        }
    }

    /// Cuts all open connections; returns how many there were.
    pub fn cut(&self) -> usize {
        let open = std::mem::take(&mut *self.open.lock().unwrap());
        open.iter().filter(|one| !one.is_finished()).inspect(|one| one.abort()).count()
    }
}
