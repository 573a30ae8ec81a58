//! The sentences of one language, and how one is found.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::template::{Place, Takes, Template};
use crate::message::Message;

/// How deep sentences may stand within each other; the rest of a longer chain stays as it is.
const DEPTH: usize = 8;
/// Parts two sentences.
const JOINT: &str = "; ";

/// A sentence in another language, with the places of the English one.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Translation {
    /// The same for every number.
    One(String),
    /// By the number in the message's first argument.
    Plural(Plural),
}

/// The three forms of Russian: 1 and 21, 2 to 4 and 22, 5 to 20 and 0.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plural {
    one: String,
    few: String,
    many: String,
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

/// English sentences and templates, each with its translation.
pub(super) struct Catalogue {
    exact: HashMap<String, Translation>,
    sentences: BTreeMap<String, String>,
    /// The most specific first.
    templates: Vec<Entry>,
    /// Templates that begin with a whole word, by that word.
    by_word: HashMap<String, Vec<usize>>,
    /// The others.
    anywhere: Vec<usize>,
}

struct Entry {
    english: Template,
    translation: Template,
}

/// Sections are there for the reader of the file alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Section {
    Sentence(Translation),
    Section(BTreeMap<String, Section>),
}

impl Catalogue {
    /// Reads one. An error says what is no TOML, or no table of sentences.
    pub fn parse(text: &str) -> Result<Catalogue, toml::de::Error> {
        let mut exact = HashMap::new();
        flatten(toml::from_str(text)?, &mut exact);
        let sentences: BTreeMap<String, String> = exact
            .iter()
            .filter_map(|(english, translation)| match translation {
                Translation::One(translation) => Some((english.clone(), translation.clone())),
                Translation::Plural(_) => None,
            })
            .collect();
        let plain = |english: String| english.replace("{=", "{").replace("{*", "{");
        let exact = exact.into_iter().map(|(english, translation)| (plain(english), translation)).collect();
        let mut templates: Vec<Entry> = sentences
            .iter()
            .map(|(english, translation)| (Template::parse(english), Template::parse(translation)))
            .filter(|(english, _)| !english.places().is_empty())
            .map(|(english, translation)| Entry { english, translation })
            .collect();
        // Of two that weigh the same the first in the alphabet goes first: the sort is stable.
        templates.sort_by_key(|entry| std::cmp::Reverse(entry.english.weight()));
        let (mut by_word, mut anywhere) = (HashMap::<String, Vec<usize>>::new(), Vec::new());
        for (number, entry) in templates.iter().enumerate() {
            match entry.english.fixed()[0].split_once(' ') {
                Some((word, _)) => by_word.entry(word.to_owned()).or_default().push(number),
                None => anywhere.push(number),
            }
        }
        Ok(Catalogue { exact, sentences, templates, by_word, anywhere })
    }

    /// The sentence with places that a message has here.
    pub fn sentence_of(&self, message: &Message) -> Option<&str> {
        match (self.exact.get(message.key())?, message.count()) {
            (Translation::One(sentence), _) => Some(sentence),
            (Translation::Plural(plural), count) => Some(plural.form(count.unwrap_or_default())),
        }
    }

    /// All sentences, with their translations.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sentences.iter().map(|(english, translation)| (english.as_str(), translation.as_str()))
    }

    /// A sentence of the catalogue in its language; any other text as it is.
    pub fn translate(&self, text: &str) -> String {
        let sentence = text.trim();
        let found = self.sentence(sentence, DEPTH).filter(|_| !sentence.is_empty());
        match (found, text.split_once(sentence)) {
            (Some(translation), Some((before, behind))) => format!("{before}{translation}{behind}"),
            _ => text.to_owned(),
        }
    }

    fn sentence(&self, text: &str, depth: usize) -> Option<String> {
        if let Some(translation) = self.sentences.get(text) {
            return Some(translation.clone());
        }
        let depth = depth.checked_sub(1)?;
        self.named(text, depth).or_else(|| self.templated(text, depth))
    }

    /// A sentence with the name of what it is about before it: `vpn-public.conf: …`, `msk-1: …`.
    fn named(&self, text: &str, depth: usize) -> Option<String> {
        let parts = text.split_once(": ");
        let (name, rest) = parts.filter(|(name, rest)| !is_several_words(name) && is_several_words(rest))?;
        let translation = self.sentence(rest, depth).filter(|translation| translation != rest)?;
        Some(format!("{name}: {translation}"))
    }

    fn templated(&self, text: &str, depth: usize) -> Option<String> {
        let word = text.split_once(' ').and_then(|(word, _)| self.by_word.get(word));
        let mut candidates: Vec<usize> = word.into_iter().flatten().chain(&self.anywhere).copied().collect();
        candidates.sort_unstable();
        candidates.into_iter().find_map(|number| self.filled(&self.templates[number], text, depth))
    }

    /// The translation of a text by this template, if it fits.
    fn filled(&self, entry: &Entry, text: &str, depth: usize) -> Option<String> {
        let captured = entry.english.captures(text)?;
        let places = entry.english.places();
        if !places.iter().zip(&captured).all(|(place, captured)| entry.allows(place, captured)) {
            return None;
        }
        let mut values: Vec<(&str, String)> = Vec::with_capacity(captured.len());
        for (place, captured) in places.iter().zip(captured) {
            // A single word is mostly a name, and a name may be any word.
            let translate = place.takes == Takes::Sentence || is_several_words(captured);
            let translation = translate.then(|| self.sentence(captured, depth)).flatten();
            let translation = translation.filter(|translation| translation != captured);
            if place.takes == Takes::Sentence && translation.is_none() {
                return None;
            }
            values.push((&place.name, translation.unwrap_or_else(|| captured.to_owned())));
        }
        let value =
            |name: &str| values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value.as_str());
        Some(entry.translation.fill(value))
    }
}

impl Entry {
    /// Whether this may stand in that place of it.
    fn allows(&self, place: &Place, captured: &str) -> bool {
        match place.takes {
            Takes::Word => !is_several_words(captured),
            Takes::Sentence => !captured.contains(JOINT),
            Takes::Anything => !captured.contains(JOINT) || self.reaches_on(&place.name),
        }
    }

    /// Whether a place may have several sentences in it: where they stay beside those before or behind, or where the
    /// template has several itself. Elsewhere each sentence is looked for on its own.
    fn reaches_on(&self, place: &str) -> bool {
        let stays = |end: fn(&Template) -> Option<&str>| {
            end(&self.english) == Some(place) && end(&self.translation) == Some(place)
        };
        stays(Template::first) || stays(Template::last) || self.english.fixed().iter().any(|text| text.contains(JOINT))
    }
}

fn is_several_words(text: &str) -> bool {
    text.contains(' ')
}

fn flatten(section: BTreeMap<String, Section>, into: &mut HashMap<String, Translation>) {
    for (key, value) in section {
        match value {
            Section::Sentence(translation) => drop(into.insert(key, translation)),
            Section::Section(section) => flatten(section, into),
        }
    }
}
