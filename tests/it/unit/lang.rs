//! Russian for people: each message of the source has its Russian and no entry of the catalogue is left over, a host's life
//! from preflight to undo is told in it; programs read English whatever the locale.

use std::collections::{BTreeMap, BTreeSet};

use mitigator_vpn::commands::explain;
use mitigator_vpn::lang::{self, Lang};
use mitigator_vpn::preflight;
use proc_macro2::TokenTree;

use crate::support::Host;
use crate::support::source::{self, each_run, is_punct, is_word, string};
use crate::support::tree::TreeHost;

const INSTALL: &str = "install --vpn-address 10.8.3.1 --endpoint 192.0.2.1 --yes";
const RUSSIAN: (&str, &str) = ("LC_ALL", "ru_RU.UTF-8");

/// English words that hold sentences together: none of them is left in a sentence that has been translated.
const ENGLISH: &[&str] =
    &["the", "is", "are", "has", "have", "it", "of", "its", "which", "that", "isn't", "can't", "nothing"];

fn is_russian(text: &str) -> bool {
    text.chars().any(|c| matches!(c, 'а'..='я' | 'А'..='Я' | 'ё' | 'Ё'))
}

/// An English word in a text, if there is one.
fn english(text: &str) -> Option<&'static str> {
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '-').collect();
    ENGLISH.iter().copied().find(|word| words.contains(word))
}

/// How many translations a sentence needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forms {
    One,
    Plural,
}

/// The sentences that the source makes messages of, each with the place where it stands.
fn said() -> BTreeMap<String, (Forms, String)> {
    let mut said = BTreeMap::new();
    for file in source::files() {
        each_run(&file.tokens, &mut |run| {
            for (at, token) in run.iter().enumerate() {
                let literal = |number: usize| {
                    let TokenTree::Group(group) = run.get(at + 2)? else { return None };
                    group.stream().into_iter().filter_map(|token| string(&token)).nth(number)
                };
                let is_macro = run.get(at + 1).is_some_and(|token| is_punct(token, '!'));
                let found = match () {
                    () if is_macro && is_word(token, "message") => (literal(0), Forms::One),
                    () if is_macro && is_word(token, "counted") => (literal(1), Forms::Plural),
                    // Message::fixed("…"), of which the word stands one before the brackets.
                    () if is_word(token, "fixed") => {
                        let TokenTree::Group(group) = &run[at + 1] else { continue };
                        (group.stream().into_iter().next().and_then(|token| string(&token)), Forms::One)
                    }
                    () => continue,
                };
                if let (Some(sentence), forms) = found {
                    said.insert(sentence, (forms, file.place(token)));
                }
            }
        });
    }
    assert!(said.len() > 400, "{} sentences found", said.len());
    said
}

/// A sentence's places, and whether there are words beside them.
fn places(sentence: &str) -> (BTreeSet<String>, bool) {
    let (mut names, mut words, mut rest) = (BTreeSet::new(), String::new(), sentence);
    while let Some((before, from)) = rest.split_once('{') {
        words.push_str(before);
        let is_name = |name: &&str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        match from.split_once('}').filter(|(name, _)| is_name(name)) {
            Some((name, behind)) => {
                names.insert(name.to_owned());
                rest = behind;
            }
            None => rest = from,
        }
    }
    words.push_str(rest);
    (names, words.chars().any(char::is_alphabetic))
}

#[test]
fn every_message_has_its_russian() {
    let catalogue: BTreeMap<&str, Vec<&str>> = lang::catalogue().collect();
    let lacking: Vec<String> = said()
        .iter()
        .filter(|(sentence, _)| places(sentence).1)
        .filter(|(sentence, (forms, _))| match catalogue.get(sentence.as_str()) {
            Some(translations) => (translations.len() == 3) != (*forms == Forms::Plural),
            None => true,
        })
        .map(|(sentence, (forms, place))| format!("{place} {forms:?}: {sentence}"))
        .collect();
    assert!(lacking.is_empty(), "{}\n{}", lacking.len(), lacking.join("\n"));
}

#[test]
fn no_entry_of_the_catalogue_is_unused() {
    let said = said();
    let unused: Vec<&str> =
        lang::catalogue().map(|(english, _)| english).filter(|key| !said.contains_key(*key)).collect();
    assert!(unused.is_empty(), "{}\n{}", unused.len(), unused.join("\n"));
}

#[test]
fn a_translation_has_the_places_of_its_sentence_and_no_english_left() {
    let mut wrong = Vec::new();
    for (sentence, translations) in lang::catalogue() {
        for translation in translations {
            if places(sentence).0 != places(translation).0 {
                wrong.push(format!("other places: {sentence}: {translation}"));
            }
            if is_russian(translation) && english(translation).is_some()
                || !is_russian(translation) && english(sentence).is_some()
            {
                wrong.push(format!("English left: {sentence}: {translation}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_topic_of_explain_has_a_title_and_a_text_with_its_commands() {
    for topic in explain::topics() {
        let russian = Lang::Ru.explanation(topic.id).unwrap_or_else(|| panic!("{} is missing", topic.id));
        assert!(is_russian(&russian.title) && is_russian(&russian.text), "{}", topic.id);
        assert!(russian.text.lines().all(|line| line.chars().count() <= 120), "{}", topic.id);
        // Whoever translates must not lose a command. Names of arguments are left out.
        let commands = topic.text.split('`').skip(1).step_by(2).filter(|command| command.contains(' '));
        for command in commands.map(|command| command.replace('\n', " ")) {
            assert!(russian.text.contains(&command), "{}: `{command}` is missing", topic.id);
        }
    }
}

#[test]
fn nothing_is_explained_that_is_no_topic() {
    let ids: BTreeSet<&str> = explain::topics().map(|topic| topic.id).collect();
    let explained: toml::Table = include_str!("../../../src/lang/explain.ru.toml").parse().expect("a table");
    assert_eq!(explained.keys().map(String::as_str).collect::<BTreeSet<_>>(), ids);
}

#[test]
fn every_page_that_a_message_sends_to_is_there() {
    let ids: BTreeSet<&str> = explain::topics().map(|topic| topic.id).collect();
    for (sentence, (_, place)) in said() {
        for sent in sentence.split("mitigator-vpn explain ").skip(1) {
            let id: String = sent.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            assert!(id.is_empty() || ids.contains(id.as_str()), "{place}: {id}");
        }
    }
}

#[test]
fn the_locale_decides_unless_the_language_is_named() {
    let locale = |set: &[(&str, &str)]| {
        Lang::of_locale(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    };
    assert_eq!(locale(&[]), Lang::En);
    assert_eq!(locale(&[("LANG", "ru_RU.UTF-8")]), Lang::Ru);
    assert_eq!(locale(&[("LANG", "ru_RU.UTF-8"), ("LC_MESSAGES", "C")]), Lang::En);
    assert_eq!(locale(&[("LANG", "C"), ("LC_MESSAGES", "ru"), ("LC_ALL", "")]), Lang::Ru);
    assert_eq!(locale(&[("LC_ALL", "en_US.UTF-8"), ("LC_MESSAGES", "ru_RU"), ("LANG", "ru_RU")]), Lang::En);

    let tree = TreeHost::with_vendor_stack();
    let out = |arguments: &str, set: &[(&str, &str)]| {
        let call = set.iter().fold(tree.vpn(arguments), |call, (name, value)| call.env(name, value));
        call.run().exits(0).out().into_owned()
    };
    let (english, russian) = (out("explain root", &[]), out("explain root", &[RUSSIAN]));
    assert!(is_russian(&russian) && !is_russian(&english), "{english}{russian}");
    assert_eq!(out("explain root --lang=en", &[RUSSIAN]), english);
    assert_eq!(out("--lang ru explain root", &[]), russian);
    assert_eq!(out("explain root", &[("MITIGATOR_VPN_LANG", "ru")]), russian);
    assert_eq!(out("explain root --lang=en", &[("MITIGATOR_VPN_LANG", "ru")]), english);
    tree.vpn("explain root --lang=de").run().exits(2).says("[possible values: en, ru]");
}

#[test]
fn what_programs_read_is_english_in_every_locale() {
    let life = ["preflight", "status", INSTALL, "status", "peers list", "undo --yes"];
    let (tree, other) = (TreeHost::with_vendor_stack(), TreeHost::with_vendor_stack());
    for words in life {
        for json in ["--json", "--json=events"] {
            let russian = tree.vpn(words).arg(json).env(RUSSIAN.0, RUSSIAN.1).run();
            let english = other.vpn(words).arg(json).run();
            assert!(!is_russian(&russian.out()) && !russian.out().is_empty(), "{words} {json}\n{russian}");
            assert_eq!(russian.code, english.code, "{words} {json}");
        }
    }
    for words in ["--help", "install --help", "man", "completions bash", "schema", "facts"] {
        let ran = tree.vpn(words).env(RUSSIAN.0, RUSSIAN.1).run().exits(0);
        assert!(!is_russian(&ran.out()), "{words}\n{ran}");
    }
    let installed = TreeHost::with_vendor_stack();
    installed.vpn(INSTALL).env(RUSSIAN.0, RUSSIAN.1).run().exits(0);
    let journal = installed.text("/var/lib/mitigator-vpn/journal.ndjson");
    assert!(!is_russian(&journal), "{journal}");
}

#[test]
fn a_hosts_life_is_told_in_russian() {
    let tree = TreeHost::with_vendor_stack();
    let life = [
        ("preflight", 0, "в порядке: "),
        ("status", 5, "расхождение: VPN здесь не настроен"),
        ("plan --vpn-address 10.8.3.1 --endpoint 192.0.2.1", 0, "создать файл /srv/mitigator/vpn-public.conf"),
        ("install --vpn-address 10.8.3.1 --endpoint 192.0.2.1", 2, "ошибка: нужно подтверждение"),
        (INSTALL, 0, "вернуть всё назад: mitigator-vpn undo"),
        ("install --yes", 0, "делать нечего"),
        ("status", 0, "всё так, как должно быть"),
        ("peers list", 0, "участник "),
        ("peers check", 0, "1 участник, в одной сети /24"),
        ("peers remove 10.8.3.9", 2, "нет участника с адресом VPN 10.8.3.9"),
        ("explain", 0, "часы синхронизированы"),
        ("explain clokc", 2, "нет проверки с именем 'clokc'"),
        ("undo --yes", 0, "возвращено файл /srv/mitigator/vpn-public.conf"),
        ("undo --yes", 0, "возвращать нечего"),
    ];
    for (words, code, expected) in life {
        let ran = tree.vpn(words).env(RUSSIAN.0, RUSSIAN.1).run().exits(code);
        let said = format!("{}{}", ran.out(), ran.err());
        assert!(said.contains(expected), "{words}: no '{expected}'\n{ran}");
        // The lines of a file that changes are that file's own.
        let left = said.lines().filter(|line| !line.starts_with("      ")).find(|line| english(line).is_some());
        assert_eq!(left, None, "{words} is left in English\n{ran}");
    }
}

#[test]
fn columns_stay_aligned() {
    let tree = TreeHost::with_vendor_stack();
    let ran = tree.vpn("preflight --lang=ru").run().exits(0);
    let out = ran.out();
    let findings =
        out.lines().filter(|line| preflight::checks().any(|check| line.contains(&format!(" {} ", check.id))));
    let columns: BTreeSet<usize> = findings
        .filter(|line| !line.trim_start().starts_with('→'))
        .map(|line| {
            let id = line.split_whitespace().nth(1).expect("an id");
            line.split(&format!(" {id} ")).next().expect("a mark").chars().count()
        })
        .collect();
    assert_eq!(columns.len(), 1, "{ran}");
}
