//! Disks of one process, in a private namespace: a small one, which can be filled, and the existing disk, read-only.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Running, program};

const SIZE: &str = "size=6m";

/// A small disk, mounted over a folder.
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    pub fn new(beside: &Path) -> Self {
        let folder = beside.join("disk");
        std::fs::create_dir(&folder).unwrap();
        Self { folder }
    }

    /// The database on it.
    pub fn database(&self) -> String {
        format!("sqlite:{}", self.folder.join("test.db").display())
    }

    /// The program with the empty disk.
    pub fn program(&self) -> Command {
        with_mounts(&format!("mount -t tmpfs -o {SIZE} none \"$1\""), &self.folder)
    }

    fn inside(&self, process: &Running) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", process.id(), self.folder.display()))
    }

    /// Fills the disk until not a byte more fits.
    pub fn fill(&self, process: &Running) {
        let mut file = std::fs::File::create(self.inside(process).join("filler")).unwrap();
        for size in [65_536, 4_096, 1] {
            while file.write_all(&vec![0_u8; size]).is_ok() {}
        }
    }

    pub fn free(&self, process: &Running) {
        std::fs::remove_file(self.inside(process).join("filler")).unwrap();
    }
}

/// The program with an existing folder, read-only.
pub fn read_only(folder: &Path) -> Command {
    with_mounts("mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\"", folder)
}

/// The program after some mounts, in which `$1` is a folder.
fn with_mounts(mounts: &str, folder: &Path) -> Command {
    let plain = program();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c"]);
    command.arg(format!("{mounts} && shift && exec \"$@\"")).arg("sh").arg(folder).arg(plain.get_program());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}
