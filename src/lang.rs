//! In which language people are spoken to.
//!
//! The program thinks in English: rooms that decide say plain English sentences, and JSON, the journal and files keep
//! them. A sentence becomes Russian where it turns into a line for a person, by [`Lang::say`], from a catalogue that is
//! data (`lang/ru.toml`, `lang/explain.ru.toml`). What the catalogue doesn't have stays English: nothing is ever lost.

mod catalogue;
mod template;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{LazyLock, OnceLock};

use clap::ValueEnum;
use serde::Deserialize;

use catalogue::Catalogue;

use crate::message::Message;

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

    /// A message in this language. A sentence that the catalogue lacks stays English, its arguments don't.
    pub fn render(self, message: &Message) -> String {
        match self {
            Lang::En => message.to_string(),
            Lang::Ru => match message.as_foreign() {
                Some(text) => self.say_lines(text),
                None => message.render(&|part: &Message| RUSSIAN.sentence_of(part).unwrap_or_else(|| part.english())),
            },
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

static OF_THE_LOG: OnceLock<Lang> = OnceLock::new();

/// Sets the language of log lines, once for the process.
pub fn set_for_log(lang: Lang) {
    let _ = OF_THE_LOG.set(lang);
}

/// Logs a warning, in the language of the log.
pub fn warn(message: &Message) {
    tracing::warn!("{}", OF_THE_LOG.get().copied().unwrap_or_default().render(message));
}

/// Logs an event of normal operation, in the language of the log.
pub fn info(message: &Message) {
    tracing::info!("{}", OF_THE_LOG.get().copied().unwrap_or_default().render(message));
}

/// Every sentence of the catalogue: English, and Russian.
pub fn catalogue() -> impl Iterator<Item = (&'static str, &'static str)> {
    RUSSIAN.entries()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{counted, message};

    #[test]
    fn a_message_is_found_exactly_and_its_arguments_are_left_alone() {
        let named = message!("differs:");
        assert_eq!(Lang::Ru.render(&named), "расхождение:");
        let path =
            message!("{file}: line {line}: {reason}", file = "/a path: with spaces", line = 3_u8, reason = "never");
        assert_eq!(Lang::Ru.render(&path), "/a path: with spaces: строка 3: never");
    }

    #[test]
    fn russian_has_three_plurals() {
        let undone = |n: u64| {
            Lang::Ru.render(&counted!(
                "{count} change made; take it back with: mitigator-vpn undo"
                    | "{count} changes made; take them back with: mitigator-vpn undo",
                count = n
            ))
        };
        for (n, noun) in [
            (1, "изменение"),
            (2, "изменения"),
            (5, "изменений"),
            (11, "изменений"),
            (21, "изменение"),
            (112, "изменений"),
        ] {
            assert!(undone(n).contains(&format!("{n} {noun}")), "{}", undone(n));
        }
    }
}
