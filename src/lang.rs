//! In which language people are spoken to.
//!
//! The program decides in values: modules return a [`Message`], whose `Display` is English, and JSON, the journal and files
//! keep that. A message becomes Russian where it turns into a line for a person, by [`Lang::render`]: an exact lookup in a
//! catalogue that is data (`lang/ru.toml`, `lang/explain.ru.toml`). A sentence that the catalogue lacks stays English.

mod catalogue;

use std::borrow::Cow;
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
            ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(&variable).filter(|value| !value.is_empty());
        match set.next() {
            Some(locale) if locale.to_string_lossy().starts_with("ru") && is_utf8(variable) => Lang::Ru,
            _ => Lang::En,
        }
    }

    /// A message in this language. A sentence that the catalogue lacks stays English, its arguments don't.
    pub fn render(self, message: &Message) -> String {
        match self {
            Lang::En => message.to_string(),
            Lang::Ru => message.render(&|part: &Message| RUSSIAN.sentence(part).unwrap_or_else(|| part.english())),
        }
    }

    /// What `explain` says of a check, where it doesn't say what the check itself does.
    pub fn explanation(self, id: &str) -> Option<&'static Explanation> {
        match self {
            Lang::En => None,
            Lang::Ru => EXPLANATIONS.get(id),
        }
    }
}

/// Whether the terminal of this locale takes UTF-8. A locale that names no character set says nothing against it.
fn is_utf8(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let mut set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable).filter(|value| !value.is_empty());
    let locale = set.next().unwrap_or_default().to_string_lossy().to_lowercase();
    let charset = locale.split_once('.').map(|(_, rest)| rest.split('@').next().unwrap_or(rest).replace('-', ""));
    charset.is_none_or(|charset| charset == "utf8")
}

static IN_ASCII: OnceLock<bool> = OnceLock::new();

/// Decides once for the process whether people get ASCII: in a locale of another character set than UTF-8, unless they have named
/// a language.
pub fn suit_locale(named: Option<Lang>) {
    let _ = IN_ASCII.set(named.is_none() && !is_utf8(|name| std::env::var_os(name)));
}

/// A text in what the terminal can show.
pub fn shown(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || !IN_ASCII.get().copied().unwrap_or_default() {
        Cow::Borrowed(text)
    } else {
        in_ascii(text).into()
    }
}

fn in_ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_ascii() => ascii.push(c),
            '→' => ascii.push_str("->"),
            '…' => ascii.push_str("..."),
            '✓' => ascii.push('+'),
            '✗' => ascii.push('x'),
            '–' | '—' => ascii.push('-'),
            _ => ascii.push('?'),
        }
    }
    ascii
}

static OF_THE_LOG: OnceLock<Lang> = OnceLock::new();

/// Sets the language of log lines, once for the process.
pub fn set_for_log(lang: Lang) {
    let _ = OF_THE_LOG.set(lang);
}

/// Logs a warning, in the language of the log.
pub fn warn(message: &Message) {
    tracing::warn!("{}", shown(&OF_THE_LOG.get().copied().unwrap_or_default().render(message)));
}

/// Logs an event of normal operation, in the language of the log.
pub fn info(message: &Message) {
    tracing::info!("{}", shown(&OF_THE_LOG.get().copied().unwrap_or_default().render(message)));
}

/// Every English sentence of the catalogue, with its translation or the three forms of it.
pub fn catalogue() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
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
