//! A disk of a few megabytes that a test can really fill: a memory file system in a namespace of its own.
//!
//! Nobody needs special rights for it, and it goes with the process that holds the namespace.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use libtest_mimic::Failed;

use super::process;

/// What is written at a time to fill the disk.
const CHUNK_BYTES: usize = 64 << 10;

/// A mounted disk.
pub struct SmallDisk {
    holder: Child,
    /// Where it is mounted, for processes in the namespace.
    mounted_at: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk at a directory, for processes that [`SmallDisk::enter`] starts.
    pub fn mount(at: &Path, megabytes: u32) -> Result<Self, Failed> {
        let unshare = process::require("unshare", "util-linux")?;
        std::fs::create_dir_all(at)?;
        let mount =
            format!("mount -t tmpfs -o size={megabytes}m tmpfs \"$0\" && echo mounted && cat");
        let mut holder = Command::new(unshare)
            .args(["--map-root-user", "--mount", "sh", "-c", &mount])
            .arg(at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let stdout = holder.stdout.take().ok_or("no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let disk = Self {
            holder,
            mounted_at: at.to_path_buf(),
        };
        match line.trim() {
            "mounted" => Ok(disk),
            _ => Err("cannot mount a disk in a user namespace".into()),
        }
    }

    /// The command that runs another one where the disk is mounted.
    pub fn enter(&self) -> Vec<String> {
        let target = self.holder.id().to_string();
        [
            "nsenter",
            "--user",
            "--mount",
            "--preserve-credentials",
            "--target",
            target.as_str(),
        ]
        .map(ToString::to_string)
        .into()
    }

    /// The disk's root, for the test itself.
    pub fn root(&self) -> PathBuf {
        let inside = self
            .mounted_at
            .strip_prefix("/")
            .unwrap_or(&self.mounted_at);
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside)
    }

    /// Fills the disk up to some room; returns the file that does.
    pub fn fill(&self, left_bytes: usize) -> Result<PathBuf, Failed> {
        let path = self.root().join("filler");
        let mut file = File::create(&path)?;
        let mut written = 0;
        while file.write_all(&vec![1; CHUNK_BYTES]).is_ok() {
            written += CHUNK_BYTES;
        }
        file.set_len(written.saturating_sub(left_bytes) as u64)?;
        Ok(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.holder.kill().ok();
        self.holder.wait().ok();
    }
}
