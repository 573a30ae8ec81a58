//! The sentences of one language, and how one is found.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::template::{Place, Takes, Template};

/// How deep sentences may stand within each other; the rest of a longer chain stays as it is.
const DEPTH: usize = 8;
/// Parts two sentences.
const JOINT: &str = "; ";

/// English sentences and templates, each with its translation.
pub(super) struct Catalogue {
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
    Sentence(String),
    Section(BTreeMap<String, Section>),
}

impl Catalogue {
    /// Reads one. An error says what is no TOML, or no table of sentences.
    pub fn parse(text: &str) -> Result<Catalogue, toml::de::Error> {
        let mut sentences = BTreeMap::new();
        flatten(toml::from_str(text)?, &mut sentences);
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
        Ok(Catalogue { sentences, templates, by_word, anywhere })
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

fn flatten(section: BTreeMap<String, Section>, into: &mut BTreeMap<String, String>) {
    for (key, value) in section {
        match value {
            Section::Sentence(translation) => drop(into.insert(key, translation)),
            Section::Section(section) => flatten(section, into),
        }
    }
}
