//! The sentences of one language: a table by the English sentence, read from TOML.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::message::Message;

/// English sentences with their translations.
pub(super) struct Catalogue {
    sentences: HashMap<String, Translation>,
}

/// A sentence in another language, with the places of the English one.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Translation {
    /// The same for every number.
    One(String),
    /// By the number in the message's first argument.
    Plural(Plural),
}

/// The three forms of Russian: 1 and 21; 2 to 4 and 22; 0, 5 to 20 and 25.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plural {
    one: String,
    few: String,
    many: String,
}

/// Sections of the file are for its reader alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Section {
    Sentence(Translation),
    Section(BTreeMap<String, Section>),
}

impl Plural {
    fn form(&self, count: u64) -> &str {
        match (count % 10, count % 100) {
            (1, hundred) if hundred != 11 => &self.one,
            (2..=4, hundred) if !(12..=14).contains(&hundred) => &self.few,
            (_, _) => &self.many,
        }
    }
}

impl Catalogue {
    /// Reads one. An error says what is no TOML, or no table of sentences.
    pub fn parse(text: &str) -> Result<Catalogue, toml::de::Error> {
        let mut sentences = HashMap::new();
        flatten(toml::from_str(text)?, &mut sentences);
        Ok(Catalogue { sentences })
    }

    /// The sentence with places that a message has in this language.
    pub fn sentence(&self, message: &Message) -> Option<&str> {
        match (self.sentences.get(message.key())?, message.count()) {
            (Translation::One(sentence), _) => Some(sentence),
            (Translation::Plural(plural), count) => Some(plural.form(count.unwrap_or_default())),
        }
    }

    /// Every English sentence with its translation, or with the three forms of it.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        self.sentences.iter().map(|(english, translation)| match translation {
            Translation::One(sentence) => (english.as_str(), vec![sentence.as_str()]),
            Translation::Plural(Plural { one, few, many }) => (english.as_str(), vec![one.as_str(), few, many]),
        })
    }
}

fn flatten(section: BTreeMap<String, Section>, into: &mut HashMap<String, Translation>) {
    for (key, value) in section {
        match value {
            Section::Sentence(translation) => drop(into.insert(key, translation)),
            Section::Section(section) => flatten(section, into),
        }
    }
}
