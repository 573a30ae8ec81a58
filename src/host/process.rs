//! Processes of the host: who holds a lock or a socket.

use std::fmt;
use std::fs;

use serde::{Deserialize, Serialize};

use crate::message;
use crate::message::{Argument, Message};

/// A process as `ps` shows it. In documents, and wherever people read it: `unattended-upgr (pid 812)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Process {
    /// Its command's name, from `/proc/PID/comm`: 15 characters at most.
    pub name: String,
    /// Its number.
    pub pid: u32,
}

impl Process {
    /// `None` where no process of this number can be seen.
    pub(super) fn of(pid: u32) -> Option<Process> {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some(Process { name: name.trim().to_owned(), pid })
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

impl From<Process> for String {
    fn from(process: Process) -> Self {
        process.to_string()
    }
}

/// Reads a document.
impl TryFrom<String> for Process {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.strip_suffix(')').and_then(|text| text.rsplit_once(" (pid "));
        let process = parts.and_then(|(name, pid)| Some(Process { name: name.to_owned(), pid: pid.parse().ok()? }));
        process.ok_or_else(|| format!("'{text}' is not NAME (pid NUMBER)"))
    }
}

impl From<&Process> for Argument {
    fn from(process: &Process) -> Self {
        process.to_string().into()
    }
}

/// Who has locked a file. In documents a process, or these words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum LockHolder {
    /// One that can be seen from here.
    Process(Process),
    /// One of another process namespace: a container's, or the host's where this is a container.
    OutOfSight,
}

impl LockHolder {
    /// By the number that the kernel gives: 0 for a process that it doesn't show here.
    pub(super) fn of(pid: u32) -> LockHolder {
        Process::of(pid).map_or(LockHolder::OutOfSight, LockHolder::Process)
    }

    /// What a report calls it.
    fn name(&self) -> Message {
        match self {
            LockHolder::Process(process) => Message::foreign(process),
            LockHolder::OutOfSight => message!("a process outside this system's view"),
        }
    }
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}

impl From<&LockHolder> for Argument {
    fn from(holder: &LockHolder) -> Self {
        holder.name().into()
    }
}

impl From<LockHolder> for String {
    fn from(holder: LockHolder) -> Self {
        holder.to_string()
    }
}

/// Reads a document.
impl From<String> for LockHolder {
    fn from(text: String) -> Self {
        Process::try_from(text).map_or(LockHolder::OutOfSight, LockHolder::Process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_comes_back_from_a_document() {
        let process = Process { name: "a (b) c".to_owned(), pid: 812 };
        for holder in [LockHolder::Process(process), LockHolder::OutOfSight] {
            let text = serde_json::to_string(&holder).unwrap();
            assert_eq!(serde_json::from_str::<LockHolder>(&text).unwrap(), holder, "{text}");
        }
        assert!(serde_json::from_str::<Process>("\"galera\"").is_err());
    }
}
