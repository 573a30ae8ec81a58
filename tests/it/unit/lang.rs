//! Russian for people: the catalogue speaks of what the source really says, every finding of the recorded hosts comes out
//! in it, and a host's life from preflight to undo is told in it; programs read English whatever the locale.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::Host;
use crate::support::tree::TreeHost;
use crate::unit::recorded::Recorded;
use mitigator_vpn::commands::explain;
use mitigator_vpn::lang::{self, Lang};
use mitigator_vpn::preflight::{self, Finding};
use proptest::prelude::*;

const INSTALL: &str = "install --vpn-address 10.8.3.1 --endpoint 192.0.2.1 --yes";
const RUSSIAN: (&str, &str) = ("LC_ALL", "ru_RU.UTF-8");

/// Findings that are a name, a version or a value, in any language.
const SAME_IN_ALL_LANGUAGES: &[&str] = &["Docker 1", "Docker 2"];

/// What a hint begins with that is nothing but a command.
const COMMANDS: &[&str] = &[
    "apt-get",
    "cat",
    "cd",
    "chattr",
    "chmod",
    "command -v",
    "dpkg",
    "df",
    "docker",
    "firewall-cmd",
    "free",
    "grep",
    "ip",
    "iptables",
    "less",
    "ls",
    "mitigator-vpn",
    "modprobe",
    "mount",
    "nft",
    "ps",
    "rm",
    "rmdir",
    "sed",
    "service",
    "ss",
    "systemctl",
    "timedatectl",
    "ufw",
];

/// English words that hold sentences together: none of them is left in a sentence that has been translated.
const ENGLISH: &[&str] =
    &["the", "is", "are", "has", "have", "it", "of", "its", "which", "that", "isn't", "can't", "nothing"];

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn is_russian(text: &str) -> bool {
    text.chars().any(|c| matches!(c, 'а'..='я' | 'А'..='Я' | 'ё' | 'Ё'))
}

/// An English word in a text, if there is one; what stands in quotes or has been printed by a command is not looked at.
fn english(text: &str) -> Option<&'static str> {
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '-').collect();
    ENGLISH.iter().copied().find(|word| words.contains(word))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory of the project") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}

/// The source without the breaks in its string literals.
fn source() -> String {
    let mut text = String::new();
    for path in files(&project().join("src"), "rs") {
        let mut lines = read(&path).lines().map(str::to_owned).collect::<Vec<_>>().into_iter();
        while let Some(mut line) = lines.next() {
            while let Some(begun) = line.strip_suffix('\\') {
                line = format!("{begun}{}", lines.next().unwrap_or_default().trim_start());
            }
            text.push_str(&line);
            text.push('\n');
        }
    }
    // As it is printed: escapes resolved, and every place empty.
    let text = text.replace("\\\"", "\"").replace("\\\\", "\\");
    places(&text).0
}

/// A text with its places emptied, and what they were called.
fn places(text: &str) -> (String, BTreeSet<String>) {
    let (mut emptied, mut names, mut rest) = (String::new(), BTreeSet::new(), text);
    while let Some((before, from)) = rest.split_once('{') {
        emptied.push_str(before);
        rest = from;
        let is_place = |name: &&str| name.chars().all(|c| c.is_alphanumeric() || "_*=:?.".contains(c));
        match from.split_once('}').filter(|(name, _)| is_place(name)) {
            Some((name, behind)) => {
                emptied.push_str("{}");
                names.insert(name.trim_start_matches(['*', '=']).to_owned());
                rest = behind;
            }
            None => emptied.push('{'),
        }
    }
    (emptied + rest, names)
}

#[test]
fn every_sentence_of_the_catalogue_is_said_somewhere() {
    let source = source();
    for (english, _) in lang::catalogue() {
        let (emptied, _) = places(english);
        let dead = emptied.split("{}").map(str::trim).find(|fixed| !source.contains(fixed));
        assert_eq!(dead, None, "nobody says: {english}");
    }
}

#[test]
fn a_translation_has_the_places_of_its_sentence() {
    for (english, russian) in lang::catalogue() {
        assert_eq!(places(english).1, places(russian).1, "{english}");
        assert!(!places(english).0.contains("{}{}"), "nobody can tell where one place ends: {english}");
        // A mere joint has nothing to translate.
        assert!(is_russian(russian) || !english.contains("the "), "{english}: {russian}");
    }
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
    let explained: toml::Table = read(&project().join("src/lang/explain.ru.toml")).parse().expect("a table");
    assert_eq!(explained.keys().map(String::as_str).collect::<BTreeSet<_>>(), ids);
}

#[test]
fn every_page_that_a_message_sends_to_is_there() {
    let ids: BTreeSet<&str> = explain::topics().map(|topic| topic.id).collect();
    for path in files(&project().join("src"), "rs") {
        for sent in read(&path).split("mitigator-vpn explain ").skip(1) {
            let id: String = sent.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            assert!(id.is_empty() || ids.contains(id.as_str()), "{}: {id}", path.display());
        }
    }
}

#[test]
fn what_is_no_sentence_of_the_catalogue_stays() {
    for text in ["", " ", "Reading package lists...", "a: b", "x; y", "eth0", "10.8.3.2", "{}", "{name}", "запрос"]
    {
        assert_eq!(Lang::Ru.say(text), text);
    }
    for (english, _) in lang::catalogue() {
        assert_eq!(Lang::En.say(english), english);
    }
}

#[test]
fn sentences_within_a_sentence_are_translated_and_names_are_not() {
    let cases = [
        (
            "vpn-public.conf: line 3: AllowedIPs: 10.8.3.7 without /32",
            "vpn-public.conf: строка 3: AllowedIPs: 10.8.3.7 без /32",
        ),
        ("UDP 4567: free", "UDP 4567: свободен"),
        (
            "/etc/modprobe.d/x.conf says: install wireguard /bin/true",
            "в /etc/modprobe.d/x.conf сказано: install wireguard /bin/true",
        ),
        // What stands before it is no part of it, and sentences beside it are their own.
        (
            "msk-1: install would change file /srv/mitigator/.env; mend it: cluster apply",
            "msk-1: не сделано: изменить файл /srv/mitigator/.env; исправить: cluster apply",
        ),
        (
            "mariadbd (pid 8) holds UDP 4567 on 0.0.0.0; garbd (pid 9) holds UDP 4568 on 0.0.0.0",
            "mariadbd (pid 8) держит UDP 4567 на 0.0.0.0; garbd (pid 9) держит UDP 4568 на 0.0.0.0",
        ),
        (
            "there is no os-release that names this host's release; the nearest supported one is Debian 13",
            "нет os-release, из которого был бы виден выпуск этого хоста; ближайший поддерживаемый — Debian 13",
        ),
        ("  not confirmed; nothing changed\n", "  не подтверждено; ничего не изменено\n"),
        (
            "install would install packages wireguard-tools, dkms (with 12 packages they need); mend it: mitigator-vpn install",
            "не сделано: установить пакеты wireguard-tools, dkms (и нужные им пакеты: 12); исправить: mitigator-vpn install",
        ),
    ];
    for (english, russian) in cases {
        assert_eq!(Lang::Ru.say(english), russian);
    }
}

#[test]
fn every_finding_of_the_recorded_hosts_comes_out_in_russian() {
    let findings: Vec<Finding> = Recorded::all().iter().flat_map(Recorded::findings).collect();
    assert!(findings.len() > 800, "{} findings", findings.len());
    for Finding { detail, hint, .. } in &findings {
        let russian = Lang::Ru.render(detail);
        let same = SAME_IN_ALL_LANGUAGES.iter().any(|begin| detail.to_string().starts_with(begin));
        assert!(same || is_russian(&russian), "{detail}");
        assert_eq!(english(&russian), None, "{detail}: {russian}");
        for line in hint.iter().flat_map(|hint| Lang::Ru.render(hint).lines().map(str::to_owned).collect::<Vec<_>>()) {
            let is_command = COMMANDS.iter().any(|command| line.starts_with(command));
            assert!(is_command || is_russian(&line), "{line}");
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

proptest! {
    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}", words in "(apt|has|none|; |: |, |\\{|\\}|install|the|x| |ы){0,60}") {
        Lang::Ru.say(&text);
        Lang::Ru.say_lines(&words);
    }

    #[test]
    fn a_long_chain_comes_to_an_end(piece in "(a: |b; |x has none, | \\(with y\\)){1,4}") {
        let started = std::time::Instant::now();
        Lang::Ru.say(&piece.repeat(100));
        // Milliseconds, unless every joint doubles the work.
        prop_assert!(started.elapsed().as_secs() < 5, "{piece}");
    }
}
