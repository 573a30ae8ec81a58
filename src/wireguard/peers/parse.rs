//! The strict reading of vpn-public.conf.
//!
//! `wg` itself takes port 99999 for 34463, the last of two equal addresses, a whole network where one address was
//! meant (FN-42, FN-43). Here everything that isn't exactly one member's section is a problem with its line, and all
//! problems are reported together. What is said about a line never repeats anything that could be a key.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

use super::Peer;
use super::value::{self, Refused};
use crate::wireguard::PublicKey;
use crate::wireguard::conf::{self, Line, Problem, Problems};

/// One member, and where in the text its parts stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
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
pub(super) fn sections(text: &str) -> Result<Vec<Section>, Vec<Problem>> {
    let mut problems = Problems::default();
    let lines = conf::lines(text, &mut problems);
    let mut reader = Reader::new(text, &mut problems);
    for line in lines {
        reader.line(&line);
    }
    let drafts = reader.drafts;
    let sections = drafts.into_iter().filter_map(|draft| draft.finish(&mut problems)).collect::<Vec<_>>();
    unique(&sections, &mut problems);
    problems.none_or_all().map(|()| sections)
}

/// What the lines read so far belong to.
enum Place {
    Nowhere,
    Member,
    /// A section that was reported as a whole; its lines are not looked at.
    Foreign,
}

struct Reader<'t, 'p> {
    text: &'t str,
    problems: &'p mut Problems,
    place: Place,
    drafts: Vec<Draft>,
    /// Where the comments began that stand directly above.
    comments_from: Option<usize>,
    /// Whether the section goes on here: no blank line since its last line.
    attached: bool,
}

impl<'t, 'p> Reader<'t, 'p> {
    fn new(text: &'t str, problems: &'p mut Problems) -> Self {
        Reader { text, problems, place: Place::Nowhere, drafts: Vec::new(), comments_from: None, attached: false }
    }

    fn line(&mut self, line: &Line) {
        if line.content.is_empty() {
            return self.layout(line);
        }
        if line.content.starts_with('[') {
            return self.header(line);
        }
        if let Place::Member = self.place {
            self.extend(line.span.end);
        }
        match (&self.place, line.setting()) {
            (Place::Foreign, _) => {}
            (_, None) => self.problems.add(
                line.number,
                "neither a section, nor `Name = value`, nor a comment",
                "comments begin with #, members with [Peer]",
            ),
            (Place::Nowhere, Some(_)) => {
                self.problems.add(line.number, "stands outside of any section", "put [Peer] above it")
            }
            (Place::Member, Some((name, value))) => self.key(line, name, value),
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
            && let Some(draft) = self.drafts.last_mut()
        {
            draft.below = line.span.end;
        }
    }

    /// A line of the current section: everything up to it is the section's.
    fn extend(&mut self, end: usize) {
        self.comments_from = None;
        self.attached = true;
        if let Some(draft) = self.drafts.last_mut() {
            draft.span.end = end;
            draft.below = end;
        }
    }

    fn header(&mut self, line: &Line) {
        let start = self.comments_from.take().unwrap_or(line.span.start);
        if let Some(draft) = self.drafts.last_mut() {
            draft.below = draft.below.min(start);
        }
        self.attached = false;
        self.place = Place::Foreign;
        if line.content.eq_ignore_ascii_case("[Peer]") {
            self.place = Place::Member;
            self.drafts.push(Draft::new(line.number, start..line.span.end));
            self.attached = true;
        } else if line.content.eq_ignore_ascii_case("[Interface]") {
            self.problems.add(
                line.number,
                "an [Interface] section in the public list",
                "it belongs into vpn-private.conf; if a private key was in here, others have read it: make a new one",
            );
        } else {
            self.problems.add(line.number, "an unknown section", "only [Peer] sections belong in here");
        }
    }

    fn key(&mut self, line: &Line, name: &str, value: &str) {
        let span = line.value_span(value);
        let text = &self.text[span.clone()];
        let Some(draft) = self.drafts.last_mut() else { return };
        let number = line.number;
        match name.to_ascii_lowercase().as_str() {
            "publickey" => draft.key.fill("PublicKey", number, span, value::public_key(text), self.problems),
            "allowedips" => draft.address.fill("AllowedIPs", number, span, value::address(text), self.problems),
            "endpoint" => draft.endpoint.fill("Endpoint", number, span, value::endpoint(text), self.problems),
            "persistentkeepalive" => {
                draft.keepalive.fill("PersistentKeepalive", number, span, value::keepalive(text), self.problems)
            }
            "presharedkey" => self.problems.add(
                number,
                "PresharedKey: a secret in the public list",
                "take the line out; others have read it, so make a new one if it is in use elsewhere",
            ),
            "privatekey" => self.problems.add(
                number,
                "PrivateKey: a secret in the public list",
                "take the line out; others have read it, so make a new key on that instance",
            ),
            _ => self.problems.add(
                number,
                conf::unknown_key(name),
                "a member has PublicKey, AllowedIPs, Endpoint and, where needed, PersistentKeepalive",
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
        problems: &mut Problems,
    ) {
        if let Some((first, _)) = self.given {
            let reason = format!("{name} for the second time in one section, first on line {first}");
            return problems.add(
                line,
                reason,
                "keep one of the two lines; every member has a [Peer] section of its own",
            );
        }
        self.given = Some((line, span));
        match value {
            Ok(value) => self.value = Some(value),
            Err((reason, hint)) => problems.add(line, format!("{name}: {reason}"), hint),
        }
    }
}

/// A section while it is being read.
struct Draft {
    line: usize,
    span: Range<usize>,
    /// Where the comments end that follow without a blank line.
    below: usize,
    key: Field<PublicKey>,
    address: Field<Ipv4Addr>,
    endpoint: Field<SocketAddr>,
    keepalive: Field<Option<u16>>,
}

impl Draft {
    fn new(line: usize, span: Range<usize>) -> Self {
        Draft {
            line,
            below: span.end,
            span,
            key: Field::default(),
            address: Field::default(),
            endpoint: Field::default(),
            keepalive: Field::default(),
        }
    }

    fn finish(self, problems: &mut Problems) -> Option<Section> {
        for (name, given, example) in [
            ("PublicKey", self.key.given.is_some(), "PublicKey = KEY (what `wg pubkey` prints on that instance)"),
            ("AllowedIPs", self.address.given.is_some(), "AllowedIPs = VPN-ADDRESS/32"),
            ("Endpoint", self.endpoint.given.is_some(), "Endpoint = IP:PORT"),
        ] {
            if !given {
                problems.add(self.line, format!("this [Peer] has no {name}"), format!("add the line: {example}"));
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
        Some(Section {
            peer,
            line: self.line,
            address_line,
            span: self.span.start..self.below,
            key_span,
            endpoint_span,
        })
    }
}

/// Two members may not share a key, an address or an endpoint: the kernel takes the last without a word (FN-42).
fn unique(sections: &[Section], problems: &mut Problems) {
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
    for Section { peer, line, address_line, .. } in sections {
        if let Some(first) = once(&mut addresses, peer.address, *address_line) {
            problems.add(
                *address_line,
                format!("AllowedIPs {}/32 is already on line {first}", peer.address),
                "remove the section that is out of date, or give one of the two another address",
            );
        }
        if let Some(first) = once(&mut keys, peer.public_key, *line) {
            problems.add(
                *line,
                format!("the PublicKey of this [Peer] is already that of the [Peer] on line {first}"),
                "remove the section that is out of date; every instance has a key of its own",
            );
        }
        if let Some(first) = once(&mut endpoints, peer.endpoint, *line) {
            problems.add(
                *line,
                format!("Endpoint {} is already that of the [Peer] on line {first}", peer.endpoint),
                "remove the section that is out of date; every instance has an endpoint of its own",
            );
        }
    }
}
