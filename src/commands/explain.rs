//! `explain`: more about a check than fits beside a finding; offline.

use crate::error::{Error, Result};
use crate::lang::Lang;
use crate::message;
use crate::preflight::{self, Check};
use crate::report::Output;
use crate::tunnel::mtu;

/// Topics that are no check of preflight, so that `--ignore` can't name them.
const OTHER_TOPICS: &[Topic] = &[Topic {
    id: mtu::ID,
    title: "packets of the tunnel's full size get to every member and back",
    note: Some("FN-27"),
    text: "\
WireGuard's usual MTU of 1420 suits a path that carries 1500 bytes everywhere. Where a cloud, a tunnel or a line on the
path carries less and silently drops larger packets, handshakes and pings get through and real traffic hangs. `install`
and `status` send each member an echo request of the tunnel's full size. If it gets no answer, they send smaller ones, in
steps of 16 bytes, to which WireGuard pads. A member that answers no echo request at all is left out.

Give the tunnel the MTU that was found, on every instance: the other end has to send smaller packets too.
With the default gateway (--stack default):
  `echo MITIGATOR_VPN_MTU=1328 >>/srv/mitigator/.env && cd /srv/mitigator && docker-compose up -d gateway`
With the vendor's gateway, until its next restart:
  `nsenter -n -t $(docker inspect -f '{{.State.Pid}}' $(docker-compose ps -q gateway)) ip link set dev wg0 mtu 1328`
Or repair the path: no router on it may drop ICMP 'fragmentation needed', or fragments.",
}];

/// Something to explain, in English.
#[derive(Clone, Copy)]
pub struct Topic {
    /// A check's id, or another word that `explain` takes.
    pub id: &'static str,
    pub(crate) title: &'static str,
    note: Option<&'static str>,
    /// Lines of at most 120 characters.
    pub text: &'static str,
}

impl From<&Check> for Topic {
    fn from(check: &Check) -> Self {
        Topic { id: check.id, title: check.title, note: check.note, text: check.explain }
    }
}

impl Topic {
    /// Its title and text in a language.
    fn words(&self, lang: Lang) -> (&'static str, &'static str) {
        lang.explanation(self.id).map_or((self.title, self.text), |other| (&other.title, &other.text))
    }

    fn page(&self, lang: Lang) -> String {
        let (title, text) = self.words(lang);
        let note = self.note.map_or(String::new(), |note| format!(" ({note})"));
        format!("{}: {title}{note}\n\n{}\n", self.id, text.trim())
    }
}

/// Explains one topic, or lists them all.
pub fn run(id: Option<&str>, output: &Output) -> Result<()> {
    let text = match id {
        None => topics().map(|topic| format!("{:<20} {}\n", topic.id, topic.words(output.lang()).0)).collect(),
        Some(id) => find(id, topics())?.page(output.lang()),
    };
    output.text(&text)
}

/// Refuses ids that no check has: a typo in `--ignore` must not look as if it worked.
pub(crate) fn known_ids(ids: &[String]) -> Result<()> {
    ids.iter().try_for_each(|id| find(id, preflight::checks().map(Topic::from)).map(drop))
}

/// Every check, then the other topics.
pub fn topics() -> impl Iterator<Item = Topic> {
    preflight::checks().map(Topic::from).chain(OTHER_TOPICS.iter().copied())
}

fn find(id: &str, topics: impl Iterator<Item = Topic>) -> Result<Topic> {
    let topics: Vec<Topic> = topics.collect();
    topics.iter().find(|topic| topic.id == id).copied().ok_or_else(|| {
        let ids: Vec<&str> = topics.iter().map(|topic| topic.id).collect();
        let error = Error::input(message!("no check is called '{id}'", id));
        let all = message!("one of: {ids}", ids = ids.join(" "));
        match meant(id, &ids) {
            Some(near) => error.hint(message!("did you mean {id}?", id = near)).then(all),
            None => error.hint(all),
        }
    })
}

/// The id that somebody who typed `word` may have meant: one that begins so, or that two slips make of it.
fn meant<'a>(word: &str, ids: &[&'a str]) -> Option<&'a str> {
    let begins = |id: &str| word.len() >= 3 && id.starts_with(word);
    let near = ids.iter().filter(|id| begins(id) || distance(word, id) <= 2);
    near.min_by_key(|id| distance(word, id)).copied()
}

/// How many characters have to be put in, taken out or replaced to make one word of another.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_id_is_bad_input_and_the_ids_are_named() {
        let error = known_ids(&["clokc".into()]).unwrap_err();
        assert_eq!(error.class().exit_code(), 2);
        assert!(error.way_out().unwrap().starts_with("did you mean clock?\none of: "));
        assert!(known_ids(&["bicycle".into()]).unwrap_err().way_out().unwrap().starts_with("one of: "));
    }
}
