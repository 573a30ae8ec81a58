//! The strict parser of vpn-public.conf.
//!
//! `wg` itself takes port 99999 for 34463, the last of two equal addresses, a whole network where one address was
//! meant (FN-42, FN-43). Here everything that isn't exactly one member's section is a problem with its line, and all
//! problems are reported together. A message about a line never repeats anything that could be a key.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

use super::value::{self, Refused};
use super::{MAX_LIST, MAX_MEMBERS, Peer};
use crate::message;
use crate::message::Message;
use crate::wireguard::PublicKey;
use crate::wireguard::conf::{self, Line, LineProblem, Problems};

/// One member, and where in the text its parts stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeerSection {
    pub peer: Peer,
    /// The line of `[Peer]`, from 1.
    pub line: usize,
    /// The line of `AllowedIPs`.
    pub address_line: usize,
    /// All of it: whole lines, with the comments directly above and below.
    pub span: Range<usize>,
    /// The value of `PublicKey`.
    pub key_span: Range<usize>,
    /// The value of `Endpoint`.
    pub endpoint_span: Range<usize>,
}

/// All members of a text, or everything that is wrong with it. No section at all is no problem here.
pub(super) fn sections(file: &str, text: &str) -> Result<Vec<PeerSection>, Vec<LineProblem>> {
    let mut problems = Problems::of(file);
    if text.len() > MAX_LIST {
        let reason = message!("a list of more than {size} MiB", size = MAX_LIST >> 20);
        problems.add(1, reason, message!("take out what isn't a member; comments count as well"));
        return problems.none_or_all().map(|()| Vec::new());
    }
    let lines = conf::lines(text, &mut problems);
    if lines.iter().any(|line| is_secret(text, line)) {
        // Of such a file nothing else is told: any of it could be of the key.
        let mut problems = Problems::of(file);
        lines
            .iter()
            .filter(|line| is_secret(text, line))
            .for_each(|line| secret(line, secret_name(text, line), &mut problems));
        return problems.none_or_all().map(|()| Vec::new());
    }
    let mut parser = ListParser::new(text, &mut problems);
    for line in lines {
        parser.line(&line);
    }
    let begun = parser.begun;
    if let Some(surplus) = begun.get(MAX_MEMBERS) {
        let reason = message!("more than {count} members", count = MAX_MEMBERS);
        problems.add(
            surplus.line,
            reason,
            message!("take out those that have left: {command}", command = "peers remove"),
        );
    }
    let sections = begun.into_iter().filter_map(|section| section.finish(&mut problems)).collect::<Vec<_>>();
    unique(&sections, &mut problems);
    problems.none_or_all().map(|()| sections)
}

/// The names of secrets, and whether a line gives one, in a comment too if it looks like a key there.
fn secret_name(text: &str, line: &Line) -> Option<&'static str> {
    let whole = text[line.span.clone()].trim_start_matches(|c: char| c == '#' || c.is_whitespace());
    let (name, value) = whole.split_once('=')?;
    let name = ["PrivateKey", "PresharedKey"].into_iter().find(|secret| secret.eq_ignore_ascii_case(name.trim()))?;
    (!line.content.is_empty() || conf::has_key(value)).then_some(name)
}

/// Whether a line belongs to a private file.
fn is_secret(text: &str, line: &Line) -> bool {
    line.content.eq_ignore_ascii_case("[Interface]") || secret_name(text, line).is_some()
}

fn secret(line: &Line, name: Option<&str>, problems: &mut Problems<'_>) {
    let (reason, hint) = match name {
        None => (
            message!("an [Interface] section in the public list"),
            message!(
                "it belongs into vpn-private.conf; if a private key was in here, others have read it: make a new one"
            ),
        ),
        Some("PresharedKey") => (
            message!("PresharedKey: a secret in the public list"),
            message!("take the line out; others have read it, so make a new one if it is in use elsewhere"),
        ),
        Some(_) => (
            message!("PrivateKey: a secret in the public list"),
            message!("take the line out; others have read it, so make a new key on that instance"),
        ),
    };
    problems.add(line.number, reason, hint);
}

/// What the lines read so far belong to.
enum Within {
    Nothing,
    Member,
    /// A section that was reported as a whole; its lines are not looked at.
    Unknown,
}

struct ListParser<'t, 'p> {
    text: &'t str,
    problems: &'p mut Problems<'t>,
    within: Within,
    begun: Vec<BegunSection>,
    /// Where the comments begin that stand directly above.
    comments_from: Option<usize>,
    /// Whether the section goes on here: no blank line since its last line.
    attached: bool,
}

impl<'t, 'p> ListParser<'t, 'p> {
    fn new(text: &'t str, problems: &'p mut Problems<'t>) -> Self {
        let within = Within::Nothing;
        ListParser { text, problems, within, begun: Vec::new(), comments_from: None, attached: false }
    }

    fn line(&mut self, line: &Line) {
        if line.content.is_empty() {
            return self.layout(line);
        }
        if line.content.starts_with('[') {
            return self.header(line);
        }
        if let Within::Member = self.within {
            self.extend(line.span.end);
        }
        match (&self.within, line.setting()) {
            (Within::Unknown, _) => {}
            (Within::Nothing | Within::Member, None) => self.problems.add(
                line.number,
                message!("neither a section, nor `Name = value`, nor a comment"),
                message!("comments begin with #, members with [Peer]"),
            ),
            (Within::Nothing, Some(_)) => {
                let reason = message!("stands outside of any section");
                self.problems.add(line.number, reason, message!("put [Peer] above it"));
            }
            (Within::Member, Some((name, value))) => self.key(line, name, value),
        }
    }

    /// A blank line or a comment.
    fn layout(&mut self, line: &Line) {
        if !line.comment {
            self.comments_from = None;
            self.attached = false;
        } else if self.comments_from.is_none() {
            self.comments_from = Some(line.span.start);
        }
        // A comment below the last line of a section is that section's, unless a header follows at once.
        if line.comment
            && self.attached
            && let Some(section) = self.begun.last_mut()
        {
            section.below = line.span.end;
        }
    }

    /// A line of the current section: everything up to it is the section's.
    fn extend(&mut self, end: usize) {
        self.comments_from = None;
        self.attached = true;
        if let Some(section) = self.begun.last_mut() {
            section.span.end = end;
            section.below = end;
        }
    }

    fn header(&mut self, line: &Line) {
        let start = self.comments_from.take().unwrap_or(line.span.start);
        if let Some(section) = self.begun.last_mut() {
            section.below = section.below.min(start);
        }
        self.attached = false;
        self.within = Within::Unknown;
        if line.content.eq_ignore_ascii_case("[Peer]") {
            self.within = Within::Member;
            self.begun.push(BegunSection::new(line.number, start..line.span.end));
            self.attached = true;
        } else {
            let hint = message!("only [Peer] sections belong in here");
            self.problems.add(line.number, message!("an unknown section"), hint);
        }
    }

    fn key(&mut self, line: &Line, name: &str, value: &str) {
        let span = line.value_span(value);
        let text = &self.text[span.clone()];
        let Some(section) = self.begun.last_mut() else { return };
        let (number, problems) = (line.number, &mut *self.problems);
        match name.to_ascii_lowercase().as_str() {
            "publickey" => section.key.fill("PublicKey", number, span, value::public_key(text), problems),
            "allowedips" => section.address.fill("AllowedIPs", number, span, value::address(text), problems),
            "endpoint" => section.endpoint.fill("Endpoint", number, span, value::endpoint(text), problems),
            "persistentkeepalive" => {
                section.keepalive.fill("PersistentKeepalive", number, span, value::keepalive(text), problems)
            }
            _ => problems.add(
                number,
                conf::unknown_key(name),
                message!("a member has PublicKey, AllowedIPs, Endpoint and, where needed, PersistentKeepalive"),
            ),
        }
    }
}

/// A value that was given, and where. A value that was refused still counts as given.
struct Field<T> {
    given: Option<(usize, Range<usize>)>,
    value: Option<T>,
}

impl<T> Default for Field<T> {
    fn default() -> Self {
        Field { given: None, value: None }
    }
}

impl<T> Field<T> {
    fn fill(
        &mut self,
        name: &str,
        line: usize,
        span: Range<usize>,
        value: Result<T, Refused>,
        problems: &mut Problems<'_>,
    ) {
        if let Some((first, _)) = self.given {
            let reason =
                message!("{name} for the second time in one section, first on line {line}", name, line = first);
            let hint = message!("keep one of the two lines; every member has a [Peer] section of its own");
            return problems.add(line, reason, hint);
        }
        self.given = Some((line, span));
        match value {
            Ok(value) => self.value = Some(value),
            Err(refused) => {
                let (reason, hint) = *refused;
                problems.add(line, message!("{field}: {reason}", field = name, reason), hint);
            }
        }
    }
}

/// A section while it is being parsed.
struct BegunSection {
    line: usize,
    span: Range<usize>,
    /// Where the comments end that follow without a blank line.
    below: usize,
    key: Field<PublicKey>,
    address: Field<Ipv4Addr>,
    endpoint: Field<SocketAddr>,
    keepalive: Field<Option<u16>>,
}

impl BegunSection {
    fn new(line: usize, span: Range<usize>) -> Self {
        BegunSection {
            line,
            below: span.end,
            span,
            key: Field::default(),
            address: Field::default(),
            endpoint: Field::default(),
            keepalive: Field::default(),
        }
    }

    fn finish(self, problems: &mut Problems<'_>) -> Option<PeerSection> {
        let key_line = message!("PublicKey = KEY (what `wg pubkey` prints on that instance)");
        for (name, given, example) in [
            ("PublicKey", self.key.given.is_some(), key_line),
            ("AllowedIPs", self.address.given.is_some(), Message::foreign("AllowedIPs = VPN-ADDRESS/32")),
            ("Endpoint", self.endpoint.given.is_some(), Message::foreign("Endpoint = IP:PORT")),
        ] {
            if !given {
                let reason = message!("this [Peer] has no {name}", name);
                problems.add(self.line, reason, message!("add the line: {example}", example));
            }
        }
        let (_, key_span) = self.key.given?;
        let (address_line, _) = self.address.given?;
        let (_, endpoint_span) = self.endpoint.given?;
        let peer = Peer {
            public_key: self.key.value?,
            address: self.address.value?,
            endpoint: self.endpoint.value?,
            keepalive: self.keepalive.value.flatten(),
        };
        Some(PeerSection {
            peer,
            line: self.line,
            address_line,
            span: self.span.start..self.below,
            key_span,
            endpoint_span,
        })
    }
}

/// Two members may not share a key, an address or an endpoint: the kernel silently takes the last one (FN-42).
fn unique(sections: &[PeerSection], problems: &mut Problems<'_>) {
    fn once<T: Eq + Hash>(seen: &mut HashMap<T, usize>, value: T, line: usize) -> Option<usize> {
        match seen.entry(value) {
            Entry::Occupied(first) => Some(*first.get()),
            Entry::Vacant(free) => {
                free.insert(line);
                None
            }
        }
    }
    let (mut keys, mut addresses, mut endpoints) = (HashMap::new(), HashMap::new(), HashMap::new());
    for PeerSection { peer: Peer { address, endpoint, public_key, .. }, line, address_line, .. } in sections {
        if let Some(first) = once(&mut addresses, *address, *address_line) {
            problems.add(
                *address_line,
                message!("AllowedIPs {address}/32 is already on line {line}", address = *address, line = first),
                message!("remove the section that is out of date, or give one of the two another address"),
            );
        }
        if let Some(first) = once(&mut keys, *public_key, *line) {
            problems.add(
                *line,
                message!("the PublicKey of this [Peer] is already that of the [Peer] on line {line}", line = first),
                message!("remove the section that is out of date; every instance has a key of its own"),
            );
        }
        if let Some(first) = once(&mut endpoints, *endpoint, *line) {
            problems.add(
                *line,
                message!(
                    "Endpoint {endpoint} is already that of the [Peer] on line {line}",
                    endpoint = *endpoint,
                    line = first
                ),
                message!("remove the section that is out of date; every instance has an endpoint of its own"),
            );
        }
    }
}
