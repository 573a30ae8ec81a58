//! `explain`: more about a check than fits beside a finding; offline.

use crate::error::{Error, Result};
use crate::lang::Lang;
use crate::preflight::{self, Check};
use crate::report::Output;
use crate::tunnel::mtu;

/// What only a live tunnel can show: no check of preflight, so nothing that `--ignore` could name.
const OF_THE_TUNNEL: &[Topic] = &[Topic {
    id: mtu::ID,
    title: "packets of the tunnel's full size get to every member and back",
    note: Some("FN-27"),
    text: mtu::EXPLAIN,
}];

/// Something to explain.
#[derive(Clone, Copy)]
struct Topic {
    id: &'static str,
    title: &'static str,
    note: Option<&'static str>,
    text: &'static str,
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
}

/// Explains one check, or lists them all.
pub fn run(id: Option<&str>, output: &Output) -> Result<()> {
    let text = match id {
        None => topics().map(|topic| format!("{:<20} {}\n", topic.id, topic.words(output.lang()).0)).collect(),
        Some(id) => explanation(&find(id, topics())?, output.lang()),
    };
    output.bytes(text.as_bytes())
}

/// Refuses ids that no check has: a typo in `--ignore` must not look as if it worked.
pub fn known_ids(ids: &[String]) -> Result<()> {
    ids.iter().try_for_each(|id| find(id, preflight::checks().map(Topic::from)).map(drop))
}

fn topics() -> impl Iterator<Item = Topic> {
    preflight::checks().map(Topic::from).chain(OF_THE_TUNNEL.iter().copied())
}

fn explanation(topic: &Topic, lang: Lang) -> String {
    let (title, text) = topic.words(lang);
    let note = topic.note.map_or(String::new(), |note| format!(" ({note})"));
    format!("{}: {title}{note}\n\n{}\n", topic.id, text.trim())
}

fn find(id: &str, topics: impl Iterator<Item = Topic>) -> Result<Topic> {
    let topics: Vec<Topic> = topics.collect();
    topics.iter().find(|topic| topic.id == id).copied().ok_or_else(|| {
        let ids: Vec<&str> = topics.iter().map(|topic| topic.id).collect();
        Error::input(format!("no check is called '{id}'")).hint(format!("one of: {}", ids.join(" ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_id_is_bad_input_and_the_ids_are_named() {
        let error = known_ids(&["clokc".into()]).unwrap_err();
        assert_eq!(error.class().exit_code(), 2);
        assert!(error.way_out().unwrap().starts_with("one of: "));
    }
}
