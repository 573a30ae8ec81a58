//! Where apt gets packages from: its one-line and its deb822 files, read without running apt, so that a mounted tree
//! can be asked as well and a preflight doesn't wait for apt to build its cache twice.

use std::collections::BTreeMap;
use std::path::Path;

use crate::facts::{ListedSuite, Reading};

/// Where apt keeps what it has fetched.
pub(super) const LISTS: &str = "/var/lib/apt/lists";

/// A deb822 file is read up to this many sources: its stanzas are products of words, which a file of 4 MiB can make endless.
pub(crate) const MOST: usize = 10_000;

/// Every suite of binary packages among the host's sources, in apt's order.
pub(crate) fn gather(reading: &Reading) -> Vec<ListedSuite> {
    let lists = reading.list(Path::new(LISTS));
    let mut found = Vec::new();
    for path in files(reading) {
        let text = reading.text(&path);
        found.extend(if path.ends_with(".sources") { deb822(&text) } else { one_line(&text) });
    }
    found
        .into_iter()
        .filter(|(uri, _)| !uri.starts_with("cdrom:"))
        .map(|(uri, suite)| {
            let prefix = list_prefix(&uri, &suite);
            let fetched = prefix.is_none_or(|prefix| lists.iter().any(|name| name.starts_with(&prefix)));
            ListedSuite { uri: without_user(&uri), suite, fetched }
        })
        .collect()
}

/// The files apt reads, in its order.
pub(super) fn files(reading: &Reading) -> Vec<String> {
    let dir = "/etc/apt/sources.list.d";
    let parts = reading.list(Path::new(dir)).into_iter();
    let parts = parts.filter(|n| n.ends_with(".list") || n.ends_with(".sources")).map(|n| format!("{dir}/{n}"));
    std::iter::once("/etc/apt/sources.list".to_owned()).chain(parts).collect()
}

/// `deb [options] uri suite components…`
pub(crate) fn one_line(text: &str) -> Vec<(String, String)> {
    let entry = |line: &str| {
        let rest = line.trim().strip_prefix("deb")?;
        let rest = rest.starts_with(char::is_whitespace).then(|| rest.trim_start())?;
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let mut words = rest.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    text.lines().filter_map(entry).collect()
}

/// Stanzas of `Types:`, `URIs:`, `Suites:`; every address with every suite.
pub(crate) fn deb822(text: &str) -> Vec<(String, String)> {
    let mut stanzas: Vec<BTreeMap<String, String>> = vec![BTreeMap::new()];
    let mut field = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let stanza = stanzas.last_mut().expect("there is always one");
        if line.trim().is_empty() {
            stanzas.push(BTreeMap::new());
        } else if line.starts_with(char::is_whitespace) {
            if let Some(value) = stanza.get_mut(&field) {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            field = name.trim().to_lowercase();
            stanza.insert(field.clone(), value.trim().to_owned());
        }
    }
    let mut found = Vec::new();
    for stanza in stanzas {
        let words = |name: &str| stanza.get(name).map(String::as_str).unwrap_or_default().split_whitespace();
        let enabled = !matches!(words("enabled").next(), Some("no" | "false" | "0" | "off" | "without" | "disable"));
        if enabled && words("types").any(|t| t == "deb") {
            let pairs = words("uris").flat_map(|uri| words("suites").map(move |suite| (uri, suite)));
            let room = MOST.saturating_sub(found.len());
            found.extend(pairs.take(room).map(|(uri, suite)| (uri.to_owned(), suite.to_owned())));
        }
    }
    found
}

/// The prefix of this source's files in [`LISTS`]; `None` for an address whose files have other names, such as a list of
/// mirrors.
pub(crate) fn list_prefix(uri: &str, suite: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once(':')?;
    if !["http", "https", "file", "copy", "ftp"].contains(&scheme) {
        return None;
    }
    let without_user = without_user(rest);
    let place = without_user.trim_start_matches("//").trim_end_matches('/');
    // A suite that ends in a slash is a directory of a flat archive.
    let path = match suite.strip_suffix('/') {
        Some(flat) => format!("{place}/{}", flat.trim_start_matches("./").trim_end_matches('.')),
        None => format!("{place}/dists/{suite}/"),
    };
    let mut name = String::new();
    for c in path.chars() {
        match c {
            '/' => name.push('_'),
            c if c <= ' ' || "\\|{}[]<>\"^~_=!@#$%^&*".contains(c) => name.push_str(&format!("%{:02x}", u32::from(c))),
            c => name.push(c),
        }
    }
    Some(name)
}

/// An address without `user:password@`.
pub(crate) fn without_user(uri: &str) -> String {
    let Some((head, rest)) = uri.split_once("//") else { return uri.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, server)) => format!("{head}//{server}{path}"),
        None => uri.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(found: Vec<(String, String)>) -> Vec<String> {
        found.into_iter().map(|(uri, suite)| format!("{uri} {suite}")).collect()
    }

    #[test]
    fn one_line_sources_are_read_with_their_options() {
        let text = "# deb http://off.example/debian buster main\n\
                    deb-src http://mirror.example/debian buster main\n\
                    deb http://mirror.example/debian buster main contrib\n\
                    deb [ arch=amd64 signed-by=/k.gpg ] https://u:p@mirror.example/x ./\n\
                    debian\ndeb\n";
        assert_eq!(pairs(one_line(text)), ["http://mirror.example/debian buster", "https://u:p@mirror.example/x ./"]);
    }

    #[test]
    fn deb822_sources_are_read_with_continuations_and_switches() {
        let text = "Types: deb deb-src\nURIs: http://mirror.example/debian\n# a comment\n\
                    Suites: bookworm\n bookworm-updates\nComponents: main\n\n\
                    Types: deb\nURIs: http://off.example\nSuites: x\nEnabled: no\n\n\
                    Types: deb-src\nURIs: http://src.example\nSuites: x\n";
        assert_eq!(
            pairs(deb822(text)),
            ["http://mirror.example/debian bookworm", "http://mirror.example/debian bookworm-updates"]
        );
    }

    #[test]
    fn a_stanza_of_many_addresses_and_suites_has_an_end() {
        let words = "x ".repeat(50_000);
        assert_eq!(deb822(&format!("Types: deb\nURIs: {words}\nSuites: {words}\n")).len(), MOST);
    }

    #[test]
    fn lists_are_found_under_the_names_apt_gives_them() {
        for (uri, suite, prefix) in [
            ("http://mirror.example/debian/", "bookworm", "mirror.example_debian_dists_bookworm_"),
            ("https://u:p@mirror.example:8080/a_b", "x", "mirror.example:8080_a%5fb_dists_x_"),
            ("file:/srv/repo", "buster-backports", "_srv_repo_dists_buster-backports_"),
            ("http://mirror.example/flat", "./", "mirror.example_flat_"),
        ] {
            assert_eq!(list_prefix(uri, suite).as_deref(), Some(prefix));
        }
        assert_eq!(list_prefix("mirror+file:/etc/apt/mirrors.txt", "x"), None);
    }

    #[test]
    fn a_source_is_fetched_when_its_lists_are_there_and_shows_no_password() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("etc/apt/sources.list", "deb cdrom:[Debian GNU/Linux 10]/ buster main\n");
        write("etc/apt/sources.list.d/a.list", "deb http://u:secret@mirror.example/debian buster main\n");
        write("etc/apt/sources.list.d/b.sources", "Types: deb\nURIs: http://mirror.example/debian\nSuites: dead\n");
        write("etc/apt/sources.list.d/c.list.save", "deb http://old.example/ x main\n");
        write("var/lib/apt/lists/mirror.example_debian_dists_buster_InRelease", "");
        let source = |uri: &str, suite: &str, fetched| ListedSuite { uri: uri.into(), suite: suite.into(), fetched };
        assert_eq!(
            gather(&Reading::of(&crate::host::Host::at(dir.path()).unwrap())),
            [
                source("http://mirror.example/debian", "buster", true),
                source("http://mirror.example/debian", "dead", false)
            ]
        );
    }
}
