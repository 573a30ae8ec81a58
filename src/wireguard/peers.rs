//! vpn-public.conf: the list of all instances, the same bytes on each of them (P7, FN-41).
//!
//! A list is a text that has parsed without a problem; an edit changes that text in one place and leaves every other byte
//! alone: comments, order, blank lines. What an edit would break is refused, and the list stays as it was.

mod parse;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::parse::PeerSection;
use super::conf::Problems;
use super::{LineProblem, ListDigest, Network, PublicKey};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::message;
use crate::message::{Argument, Message};
use crate::product::PRODUCT;

/// Bytes that a list may have: of a file, of what is written, of what hosts send. There is no [`PeerList`] beyond it.
pub(crate) const MAX_LIST: usize = 2 << 20;
/// Members that it may have.
pub(crate) const MAX_MEMBERS: usize = 10_000;

/// One instance in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// Its key.
    pub public_key: PublicKey,
    /// Its address inside the VPN (`AllowedIPs` without the `/32`).
    #[serde(rename = "vpn_address")]
    pub address: Ipv4Addr,
    /// Where its packets go.
    #[schemars(with = "String")]
    pub endpoint: SocketAddr,
    /// `PersistentKeepalive` in seconds; `None` when it is off.
    pub keepalive: Option<u16>,
}

impl From<&Peer> for Message {
    /// On one line: `10.8.3.1 192.0.2.1:4567 key acfzxE6Z…`.
    fn from(peer: &Peer) -> Self {
        let Peer { public_key, address, endpoint, keepalive } = peer;
        let line = message!(
            "{address} {endpoint} key {key}…",
            address = *address,
            endpoint = *endpoint,
            key = public_key.short()
        );
        match keepalive {
            Some(seconds) => message!("{peer} keepalive {seconds} s", peer = line, seconds = *seconds),
            None => line,
        }
    }
}

impl From<&Peer> for Argument {
    fn from(peer: &Peer) -> Self {
        Argument::Message(peer.into())
    }
}

/// What differs for one instance between two lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Change")]
pub enum ListChange {
    /// Only the other list has it.
    Added(Peer),
    /// Only this list has it.
    Removed(Peer),
    /// Both have it, with another key, endpoint or keepalive.
    Changed {
        /// As it is here.
        from: Peer,
        /// As it is there.
        to: Peer,
    },
}

impl From<&ListChange> for Message {
    /// One line for each peer that goes and that comes.
    fn from(change: &ListChange) -> Self {
        let added = |peer: &Peer| message!("+ {peer}", peer);
        let removed = |peer: &Peer| message!("- {peer}", peer);
        match change {
            ListChange::Added(peer) => added(peer),
            ListChange::Removed(peer) => removed(peer),
            ListChange::Changed { from, to } => Message::joined(vec![removed(from), added(to)], "\n"),
        }
    }
}

/// The list of instances. The empty list stands for a file that doesn't exist yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerList {
    text: String,
    sections: Vec<PeerSection>,
}

impl PeerList {
    /// As [`PeerList::check`], for an instance's own file.
    pub fn parse(text: &str) -> Result<Self, Vec<LineProblem>> {
        Self::check(PRODUCT.files.public_conf, text)
    }

    /// Parses strictly; reports every problem, not only the first. A list without members is a problem as well.
    pub(crate) fn check(file: &str, text: &str) -> Result<Self, Vec<LineProblem>> {
        let list = Self::parse_any(file, text)?;
        if list.sections.is_empty() {
            let reason =
                if text.is_empty() { message!("the file is empty") } else { message!("no [Peer] section in it") };
            let command = format!("rm {}", Problems::of(file).quoted_file());
            let hint = message!(
                "take the list from another instance, or remove the file if this is the first: {command}",
                command
            );
            return Err(vec![LineProblem { line: 1, reason, hint }]);
        }
        Ok(list)
    }

    /// As [`PeerList::check`], with all problems as one error that names the file.
    pub(crate) fn parse_named(file: &str, text: &str) -> Result<Self> {
        Self::check(file, text).map_err(|problems| LineProblem::error(file, &problems))
    }

    /// Reads a list; `None` when there is no such file.
    pub(crate) fn read(host: &Host, path: &Path) -> Result<Option<Self>> {
        let Some(text) = host.read_text(path)? else { return Ok(None) };
        Self::parse_named(&host.display(path), &text).map(Some)
    }

    pub(crate) fn parse_any(file: &str, text: &str) -> Result<Self, Vec<LineProblem>> {
        Ok(PeerList { text: text.to_owned(), sections: parse::sections(file, text)? })
    }

    /// The instances, in the order of the file.
    pub fn peers(&self) -> impl ExactSizeIterator<Item = &Peer> + Clone {
        self.sections.iter().map(|s| &s.peer)
    }

    pub(crate) fn len(&self) -> usize {
        self.sections.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }

    /// The exact text.
    pub(crate) fn to_text(&self) -> String {
        self.text.clone()
    }

    /// Of the exact text.
    pub(crate) fn digest(&self) -> ListDigest {
        ListDigest::of(&self.text)
    }

    /// The instance with this VPN address.
    pub(crate) fn by_address(&self, address: Ipv4Addr) -> Option<&Peer> {
        self.section(address).map(|s| &s.peer)
    }

    fn section(&self, address: Ipv4Addr) -> Option<&PeerSection> {
        self.sections.iter().find(|s| s.peer.address == address)
    }

    fn member(&self, address: Ipv4Addr) -> Result<&PeerSection> {
        self.section(address).ok_or_else(|| Error::input(message!("no member has the VPN address {address}", address)))
    }

    /// Appends an instance. Its address, key and endpoint must be its own.
    pub(crate) fn add(&mut self, peer: Peer) -> Result<()> {
        self.refuse_taken(&peer, |_| true)?;
        self.append(&section_text(&peer))
    }

    /// Makes the instance with this VPN address what `peer` says: in place where it is listed (FN-53), else at the
    /// end. Its comments stay, and a keepalive stays as it is where it is listed.
    pub(crate) fn put(&mut self, peer: Peer) -> Result<()> {
        let Some(section) = self.section(peer.address) else { return self.add(peer) };
        self.refuse_taken(&peer, |other| other.address != peer.address)?;
        // Back to front, so that the first replacement doesn't move the second.
        let mut edits = [
            (section.key_span.clone(), peer.public_key.to_string()),
            (section.endpoint_span.clone(), peer.endpoint.to_string()),
        ];
        edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
        if section.peer.public_key == peer.public_key && section.peer.endpoint == peer.endpoint {
            return Ok(());
        }
        let mut text = self.text.clone();
        for (span, value) in edits {
            text.replace_range(span, &value);
        }
        self.replace(text)
    }

    /// Gives the instance a new key, in place.
    pub(crate) fn set_key(&mut self, address: Ipv4Addr, key: PublicKey) -> Result<()> {
        let peer = Peer { public_key: key, ..self.member(address)?.peer.clone() };
        self.put(peer)
    }

    /// Takes an instance out, with the comments directly above and below it and one blank line; what [`PeerList::add`]
    /// had inserted is gone without a trace.
    pub(crate) fn remove(&mut self, address: Ipv4Addr) -> Result<()> {
        let Range { mut start, mut end } = self.member(address)?.span;
        let blank = |line: &str| line.trim().is_empty();
        if let Some(above) = self.text[..start].split_inclusive('\n').next_back() {
            if blank(above) {
                start -= above.len();
            }
        } else if let Some(below) = self.text[end..].split_inclusive('\n').next().filter(|line| blank(line)) {
            end += below.len();
        }
        let mut rest = format!("{}{}", &self.text[..start], &self.text[end..]);
        if end == self.text.len() && !self.text.ends_with('\n') && rest.ends_with('\n') {
            rest.pop();
        }
        self.replace(rest)
    }

    /// Whether all instances can be in one network of this prefix length (P8): one problem for each that can't.
    pub(crate) fn check_network(&self, prefix: u8) -> Vec<LineProblem> {
        let mut sizes: BTreeMap<Network, usize> = BTreeMap::new();
        for peer in self.peers() {
            *sizes.entry(Network::of(peer.address, prefix)).or_default() += 1;
        }
        // The network that most are in, so that one wrong address is one problem.
        let Some((&network, _)) = sizes.iter().rev().max_by_key(|(_, size)| **size) else { return Vec::new() };
        let mut problems = Vec::new();
        for PeerSection { peer: Peer { address, .. }, address_line: line, .. } in &self.sections {
            let Some(reason) = network.objection(*address) else { continue };
            let hint = message!(
                "give that instance a free address in {network}, or name the network's prefix: --prefix",
                network
            );
            problems.push(LineProblem { line: *line, reason, hint });
        }
        problems
    }

    /// The instances of both lists, by VPN address. Nobody is dropped (FN-49, FN-52): an address that both lists have
    /// with different keys or endpoints is a conflict, at its line in `theirs`. Where one list holds all that the
    /// other says, it is returned byte for byte; otherwise it is `theirs`, with the instances only `ours` has behind.
    pub(crate) fn merge(ours: &PeerList, theirs: &PeerList) -> Result<PeerList, Vec<LineProblem>> {
        let mut problems = Vec::new();
        for PeerSection { peer, line, .. } in &theirs.sections {
            for reason in ours.peers().filter_map(|mine| conflict(mine, peer)) {
                let command = format!("peers remove {}", peer.address);
                let hint = message!("find out which of the two is right, then remove the other: {command}", command);
                problems.push(LineProblem { line: *line, reason, hint });
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let holds = |all: &PeerList, part: &PeerList| part.peers().all(|p| all.by_address(p.address) == Some(p));
        if !holds(theirs, ours) && holds(ours, theirs) {
            return Ok(ours.clone());
        }
        let mut merged = theirs.clone();
        for section in ours.sections.iter().filter(|s| theirs.by_address(s.peer.address).is_none()) {
            let text = ours.text[section.span.clone()].trim_end_matches('\n');
            merged.append(&format!("{text}\n")).expect("no conflicts, and flawless in the list it comes from");
        }
        Ok(merged)
    }

    /// What would have to change here to say what `other` says. Comments, order and spelling don't count (FN-54).
    pub(crate) fn diff(&self, other: &PeerList) -> Vec<ListChange> {
        let ours: BTreeMap<Ipv4Addr, &Peer> = self.peers().map(|p| (p.address, p)).collect();
        let theirs: BTreeMap<Ipv4Addr, &Peer> = other.peers().map(|p| (p.address, p)).collect();
        let mut changes: BTreeMap<Ipv4Addr, ListChange> = BTreeMap::new();
        for (address, peer) in &ours {
            match theirs.get(address) {
                None => drop(changes.insert(*address, ListChange::Removed((*peer).clone()))),
                Some(other) if other != peer => {
                    let change = ListChange::Changed { from: (*peer).clone(), to: (*other).clone() };
                    changes.insert(*address, change);
                }
                Some(_) => {}
            }
        }
        for (address, peer) in theirs.into_iter().filter(|(address, _)| !ours.contains_key(address)) {
            changes.insert(address, ListChange::Added(peer.clone()));
        }
        changes.into_values().collect()
    }

    /// An error when another instance has the address, the key or the endpoint.
    fn refuse_taken(&self, peer: &Peer, other: impl Fn(&Peer) -> bool) -> Result<()> {
        for PeerSection { peer: taken, line, .. } in self.sections.iter().filter(|s| other(&s.peer)) {
            let what = if taken.address == peer.address {
                message!("the VPN address {address}", address = peer.address)
            } else if taken.public_key == peer.public_key {
                message!("the key {key}…", key = peer.public_key.short())
            } else if taken.endpoint == peer.endpoint {
                message!("the endpoint {endpoint}", endpoint = peer.endpoint)
            } else {
                continue;
            };
            let reason = message!(
                "{what} is already that of the member {member} (line {line})",
                what,
                member = taken,
                line = *line
            );
            let command = format!("mitigator-vpn peers remove {}", taken.address);
            return Err(Error::input(reason).hint(message!("if that member is gone: {command}", command)));
        }
        Ok(())
    }

    /// Appends a section, after a blank line. A text without a line end at its end stays without one.
    fn append(&mut self, section: &str) -> Result<()> {
        let text = if self.text.is_empty() {
            section.to_owned()
        } else if self.text.ends_with('\n') {
            format!("{}\n{section}", self.text)
        } else {
            format!("{}\n\n{}", self.text, section.trim_end_matches('\n'))
        };
        self.replace(text)
    }

    /// Takes the edited text if it still parses.
    fn replace(&mut self, text: String) -> Result<()> {
        *self = Self::parse_any(PRODUCT.files.public_conf, &text).map_err(|problems| {
            let hint = problems[0].hint.clone();
            let reasons = problems.into_iter().map(|problem| problem.reason).collect();
            Error::input(Message::joined(reasons, "; ")).hint(hint)
        })?;
        Ok(())
    }
}

impl fmt::Display for PeerList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A member's section, in the form of the vendor's documentation.
fn section_text(peer: &Peer) -> String {
    let Peer { public_key, address, endpoint, keepalive } = peer;
    let mut text = format!("[Peer]\nPublicKey = {public_key}\nAllowedIPs = {address}/32\nEndpoint = {endpoint}\n");
    if let Some(seconds) = keepalive.filter(|s| *s > 0) {
        text.push_str(&format!("PersistentKeepalive = {seconds}\n"));
    }
    text
}

/// Why the two can't be in one list, if they can't.
fn conflict(ours: &Peer, theirs: &Peer) -> Option<Message> {
    let (same_address, same_key, same_endpoint) =
        (ours.address == theirs.address, ours.public_key == theirs.public_key, ours.endpoint == theirs.endpoint);
    match (same_address, same_key, same_endpoint) {
        (true, true, true) | (false, false, false) => None,
        (true, _, _) => Some(message!(
            "two different members with one VPN address: {theirs}, and in the list here {ours}",
            theirs,
            ours
        )),
        (false, true, _) => {
            Some(message!("two different members with one key: {theirs}, and in the list here {ours}", theirs, ours))
        }
        (false, false, true) => Some(message!(
            "two different members with one endpoint: {theirs}, and in the list here {ours}",
            theirs,
            ours
        )),
    }
}

#[cfg(test)]
mod tests;
