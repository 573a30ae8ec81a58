//! In which language people are spoken to.
//!
//! The program thinks in English: rooms that decide say plain English sentences, and JSON, the journal and files keep
//! them. A sentence becomes Russian where it turns into a line for a person, by [`Lang::say`], from a catalogue that is
//! data (`lang/ru.toml`, `lang/explain.ru.toml`). What the catalogue doesn't have stays English: nothing is ever lost.

mod catalogue;
mod template;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::LazyLock;

use clap::ValueEnum;
use serde::Deserialize;

use catalogue::Catalogue;

/// A language to speak to people in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Russian.
    Ru,
}

/// What `explain` says of one check in another language than English.
#[derive(Debug, Deserialize)]
pub struct Explanation {
    /// The check's title.
    pub title: String,
    /// The text.
    pub text: String,
}

static RUSSIAN: LazyLock<Catalogue> =
    LazyLock::new(|| Catalogue::parse(include_str!("lang/ru.toml")).expect("a test of this module reads it"));

static EXPLANATIONS: LazyLock<BTreeMap<String, Explanation>> =
    LazyLock::new(|| toml::from_str(include_str!("lang/explain.ru.toml")).expect("a test of this module reads it"));

impl Lang {
    /// As the locale says: the first of `LC_ALL`, `LC_MESSAGES` and `LANG` that isn't empty decides.
    pub fn of_locale(variable: impl Fn(&str) -> Option<OsString>) -> Lang {
        let mut set =
            ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(variable).filter(|value| !value.is_empty());
        match set.next() {
            Some(locale) if locale.to_string_lossy().starts_with("ru") => Lang::Ru,
            _ => Lang::En,
        }
    }

    /// A sentence, or a word of the frame, in this language. The space around it stays.
    pub fn say(self, english: &str) -> String {
        match self {
            Lang::En => english.to_owned(),
            Lang::Ru => RUSSIAN.translate(english),
        }
    }

    /// A text of several sentences, one a line.
    pub fn say_lines(self, english: &str) -> String {
        english.split('\n').map(|line| self.say(line)).collect::<Vec<_>>().join("\n")
    }

    /// What `explain` says of a check, where it doesn't say what the check itself does.
    pub fn explanation(self, id: &str) -> Option<&'static Explanation> {
        match self {
            Lang::En => None,
            Lang::Ru => EXPLANATIONS.get(id),
        }
    }
}

/// Every sentence of the catalogue: English, and Russian.
pub fn catalogue() -> impl Iterator<Item = (&'static str, &'static str)> {
    RUSSIAN.entries()
}
