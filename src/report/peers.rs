//! What `peers` has to say.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, Outcome, SCHEMA};
use crate::lang::Lang;
use crate::wireguard::{Change, ListDigest, Peer, PeerList, Problem};

/// `peers list --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PeersDocument {
    /// The version of this document.
    pub schema: u32,
    /// Which list.
    pub file: String,
    /// SHA-256 of the file: equal on all instances, or the lists have drifted apart.
    pub digest: ListDigest,
    /// The members, in the order of the file.
    pub members: Vec<Peer>,
}

impl PeersDocument {
    /// Of a list.
    pub fn new(file: String, list: &PeerList) -> Self {
        PeersDocument { schema: SCHEMA, file, digest: list.digest(), members: list.peers().cloned().collect() }
    }
}

impl Document for PeersDocument {
    fn text(&self, lang: Lang) -> String {
        let [member, endpoint, key] = ["member", "endpoint", "key"].map(|word| lang.say(word));
        let mut out = format!("{member:<16} {endpoint:<24} {key}\n");
        for Peer { address, endpoint, public_key, keepalive } in &self.members {
            let keepalive = keepalive.map_or(String::new(), |seconds| lang.say(&format!("  keepalive {seconds} s")));
            let _ = writeln!(out, "{:<16} {:<24} {public_key}{keepalive}", address.to_string(), endpoint.to_string());
        }
        let total = format!("{}: {} members, digest {}", self.file, self.members.len(), self.digest);
        let _ = writeln!(out, "\n{}", lang.say(&total));
        out
    }
}

/// One problem of a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ProblemDocument {
    /// Line number, from 1.
    pub line: usize,
    /// The reason.
    pub reason: String,
    /// The way out.
    pub hint: String,
}

impl ProblemDocument {
    /// Of a problem in this file.
    pub fn new(problem: &Problem, file: &str) -> Self {
        ProblemDocument { line: problem.line, reason: problem.reason.clone(), hint: problem.hint_for(file) }
    }
}

/// `peers check --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PeersCheckDocument {
    /// The version of this document.
    pub schema: u32,
    /// Which list.
    pub file: String,
    /// How many members it has; 0 if it can't be read as a list.
    pub members: usize,
    /// The prefix length of the network they have to fit into.
    pub prefix: u8,
    /// What is wrong with it, by line.
    pub problems: Vec<ProblemDocument>,
    /// `pass` when nothing is.
    pub outcome: Outcome,
}

impl PeersCheckDocument {
    /// From what was found.
    pub fn new(file: String, members: usize, prefix: u8, problems: Vec<ProblemDocument>) -> Self {
        let outcome = if problems.is_empty() { Outcome::Pass } else { Outcome::Fail };
        PeersCheckDocument { schema: SCHEMA, file, members, prefix, problems, outcome }
    }
}

impl Document for PeersCheckDocument {
    fn text(&self, lang: Lang) -> String {
        let mut out = String::new();
        for ProblemDocument { line, reason, hint } in &self.problems {
            let problem = lang.say(&format!("{}: line {line}: {reason}", self.file));
            let _ = writeln!(out, "{problem}\n  → {}", lang.say(hint));
        }
        if self.outcome == Outcome::Pass {
            let sound = format!("{}: {} members in one /{}", self.file, self.members, self.prefix);
            let _ = writeln!(out, "{}", lang.say(&sound));
        }
        out
    }
}

/// `peers add --json`, `peers remove --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PeersChangeDocument {
    /// The version of this document.
    pub schema: u32,
    /// Which list.
    pub file: String,
    /// What was changed; nothing if it was like that already, and then nothing was written.
    pub change: Option<Change>,
    /// SHA-256 of the file as it is now.
    pub digest: ListDigest,
    /// How many members it has now.
    pub members: usize,
}

impl PeersChangeDocument {
    /// Of a list after an edit.
    pub fn new(file: String, list: &PeerList, change: Option<Change>) -> Self {
        PeersChangeDocument { schema: SCHEMA, file, change, digest: list.digest(), members: list.len() }
    }
}

impl Document for PeersChangeDocument {
    fn text(&self, lang: Lang) -> String {
        let mut out = match &self.change {
            None => lang.say(&format!("{}: nothing to do, that member is listed\n", self.file)),
            Some(change) => format!("{}:\n{}\n", self.file, lang.say_lines(&change.to_string())),
        };
        let _ = writeln!(out, "{}", lang.say(&format!("{} members, digest {}", self.members, self.digest)));
        if self.change.is_some() {
            let next =
                "the same file has to go to every instance; then on each: docker-compose exec -T gateway reconfigure";
            let _ = writeln!(out, "{}", lang.say(next));
        }
        out
    }
}

/// One of two lists.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListId {
    /// Its name.
    pub file: String,
    /// SHA-256 of its text.
    pub digest: ListDigest,
}

/// `peers diff --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PeersDiffDocument {
    /// The version of this document.
    pub schema: u32,
    /// The first list.
    pub from: ListId,
    /// The second list.
    pub to: ListId,
    /// What would have to change in the first to say what the second says, by VPN address.
    pub changes: Vec<Change>,
    /// `pass` when they have the same members, `fail` when they don't. Layout and comments don't count.
    pub outcome: Outcome,
}

impl PeersDiffDocument {
    /// Of two lists and their names.
    pub fn new(from: (String, &PeerList), to: (String, &PeerList)) -> Self {
        let changes = from.1.diff(to.1);
        let outcome = if changes.is_empty() { Outcome::Pass } else { Outcome::Fail };
        let id = |(file, list): (String, &PeerList)| ListId { file, digest: list.digest() };
        PeersDiffDocument { schema: SCHEMA, from: id(from), to: id(to), changes, outcome }
    }
}

impl Document for PeersDiffDocument {
    fn text(&self, lang: Lang) -> String {
        let mut out = String::new();
        if !self.changes.is_empty() {
            let _ = writeln!(out, "--- {}\n+++ {}", self.from.file, self.to.file);
        }
        for change in &self.changes {
            let _ = writeln!(out, "{}", lang.say_lines(&change.to_string()));
        }
        if self.changes.is_empty() {
            let layout = if self.from.digest == self.to.digest { "the same bytes" } else { "another layout" };
            let _ = writeln!(out, "{}", lang.say(&format!("the same members, {layout}")));
        }
        out
    }
}
