//! Child processes that end with their owner, and the signals sent to them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How often a process is looked at.
const POLL: Duration = Duration::from_millis(2);

/// A child process, and the children it has; all are killed with it.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// Starts a command.
    pub(crate) fn start(command: &mut Command) -> std::io::Result<Self> {
        command.spawn().map(Self)
    }

    /// How it ended, once it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Waits for its end, until `until`.
    pub(crate) fn wait(&mut self, until: Instant) -> Option<ExitStatus> {
        loop {
            match self.ended() {
                Some(status) => return Some(status),
                None if Instant::now() >= until => return None,
                None => thread::sleep(POLL),
            }
        }
    }

    /// The first child whose command line has the word `word`.
    pub(crate) fn child(&self, word: &str) -> Option<u32> {
        children(self.0.id()).into_iter().find(|pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split(|byte| *byte == 0).any(|found| found == word.as_bytes())
        })
    }

    /// Waits for that child, until `until` or its parent's end.
    pub(crate) fn wait_for_child(&mut self, word: &str, until: Instant) -> Option<u32> {
        while Instant::now() < until && self.ended().is_none() {
            if let Some(pid) = self.child(word) {
                return Some(pid);
            }
            thread::sleep(POLL);
        }
        None
    }

    /// Its stdout, once, if that is piped.
    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        signal("-TERM", self.0.id());
    }

    /// Kills it, and waits for its end.
    pub(crate) fn kill(&mut self) {
        // Gone already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Whether a line of its stdout, which must be piped, begins with `prefix` before `until`.
    pub(crate) fn says(&mut self, prefix: &'static str, until: Instant) -> bool {
        self.line(prefix, until).is_some()
    }

    /// What follows `prefix` in the first line of its stdout, which must be piped, that begins so before `until`.
    pub(crate) fn line(&mut self, prefix: &'static str, until: Instant) -> Option<String> {
        let stdout = self.0.stdout.take()?;
        let (said, heard) = mpsc::channel();
        // Ends with the process; reads on, so that the process never waits for a reader.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(rest) = line.strip_prefix(prefix) {
                    let _ = said.send(rest.to_owned());
                }
            }
        });
        heard.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended().is_none() {
            for pid in children(self.0.id()) {
                signal("-KILL", pid);
            }
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Sends a signal; a process that is gone already is none of our business.
pub(crate) fn signal(name: &str, pid: u32) {
    let _ = Command::new("kill")
        .args([name, &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// Processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The name before the last parenthesis may hold anything; state and parent follow it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
