//! What `peers` has to say.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, Outcome, SCHEMA, Text};
use crate::lang::Lang;
use crate::message::Message;
use crate::wireguard::{LineProblem, ListChange, ListDigest, Peer, PeerList};
use crate::{counted, message};

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
        let [member, endpoint, key] =
            [message!("member"), message!("endpoint"), message!("key")].map(|word| lang.render(&word));
        let mut out = format!("{member:<16} {endpoint:<24} {key}\n");
        for Peer { address, endpoint, public_key, keepalive } in &self.members {
            let keepalive = keepalive.map_or(String::new(), |seconds| {
                format!("  {}", lang.render(&message!("keepalive {seconds} s", seconds)))
            });
            let _ = writeln!(out, "{:<16} {:<24} {public_key}{keepalive}", address.to_string(), endpoint.to_string());
        }
        let _ = writeln!(out, "\n{}: {}", self.file, lang.render(&total(self.members.len(), &self.digest)));
        out
    }
}

fn total(members: usize, digest: &ListDigest) -> Message {
    let digest = digest.to_string();
    counted!("{count} member, digest {digest}" | "{count} members, digest {digest}", count = members, digest)
}

/// One problem of a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ProblemDocument {
    /// Line number, from 1.
    pub line: usize,
    /// The reason.
    pub reason: Text,
    /// The way out.
    pub hint: Text,
}

impl From<LineProblem> for ProblemDocument {
    fn from(LineProblem { line, reason, hint }: LineProblem) -> Self {
        ProblemDocument { line, reason: Text(reason), hint: Text(hint) }
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
            let problem =
                message!("{file}: line {line}: {reason}", file = &self.file, line = *line, reason = &reason.0);
            let _ = writeln!(out, "{}\n  → {}", lang.render(&problem), lang.render(&hint.0));
        }
        if self.outcome == Outcome::Pass {
            let sound = counted!(
                "{count} member in one /{prefix}" | "{count} members in one /{prefix}",
                count = self.members,
                prefix = self.prefix
            );
            let _ = writeln!(out, "{}: {}", self.file, lang.render(&sound));
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
    pub change: Option<ListChange>,
    /// SHA-256 of the file as it is now.
    pub digest: ListDigest,
    /// How many members it has now.
    pub members: usize,
    /// What brings the list to the tunnel, with the compose that is here.
    #[serde(skip)]
    #[schemars(skip)]
    pub reconfigure: String,
}

impl PeersChangeDocument {
    /// Of a list after an edit.
    pub fn new(file: String, list: &PeerList, change: Option<ListChange>, reconfigure: String) -> Self {
        PeersChangeDocument { schema: SCHEMA, file, change, digest: list.digest(), members: list.len(), reconfigure }
    }
}

impl Document for PeersChangeDocument {
    fn text(&self, lang: Lang) -> String {
        let mut out = match &self.change {
            None => {
                format!("{}: {}\n", self.file, lang.render(&message!("nothing to do, that member is listed")))
            }
            Some(change) => format!("{}:\n{}\n", self.file, lang.render(&change.into())),
        };
        let _ = writeln!(out, "{}", lang.render(&total(self.members, &self.digest)));
        if self.change.is_some() {
            let next = message!(
                "the same file has to go to every instance; then on each: {command}",
                command = &self.reconfigure
            );
            let _ = writeln!(out, "{}", lang.render(&next));
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
    pub changes: Vec<ListChange>,
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
            let _ = writeln!(out, "{}", lang.render(&change.into()));
        }
        if self.changes.is_empty() {
            let same = if self.from.digest == self.to.digest {
                message!("the same members, the same bytes")
            } else {
                message!("the same members, another layout")
            };
            let _ = writeln!(out, "{}", lang.render(&same));
        }
        out
    }
}
