//! `COMPOSE_FILE`: which files compose merges, and in which order.
//!
//! While the variable isn't set, compose takes its default names and an override file; setting it turns that off (FN-33).
//! So the list is extended, never replaced, and begins with the files that compose took by default.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::product::PRODUCT;

/// Names that compose tries by default, the product's own first.
const BASE: [&str; 4] = [PRODUCT.files.base, "docker-compose.yaml", "compose.yaml", "compose.yml"];
const OVERRIDE: [&str; 4] =
    ["docker-compose.override.yml", "docker-compose.override.yaml", "compose.override.yaml", "compose.override.yml"];

/// Whether a stack's own file is among these names.
pub(crate) fn has_base<'a>(names: impl IntoIterator<Item = &'a String>) -> bool {
    names.into_iter().any(|name| BASE.contains(&name.as_str()))
}

/// The files of a `COMPOSE_FILE`, without the space that compose would take for part of a name.
pub(crate) fn split_compose_file<'a>(value: &'a str, separator: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    value.split(separator.filter(|s| !s.is_empty()).unwrap_or(":")).map(str::trim).filter(|file| !file.is_empty())
}

/// The `COMPOSE_FILE` that names the vendor's file, everything in use, and the overlay, in this order, each once.
///
/// `current` and `separator` are what `.env` says now; `present` are the compose files in `dir`.
pub(crate) fn extend_compose_file(
    current: Option<&str>,
    separator: Option<&str>,
    dir: &Path,
    present: &BTreeSet<String>,
) -> String {
    let first = |names: [&'static str; 4]| names.into_iter().find(|name| present.contains(*name));
    let mut files: Vec<&str> = Vec::new();
    for file in split_compose_file(current.unwrap_or_default(), separator) {
        if !files.iter().any(|known| same(dir, known, file)) {
            files.push(file);
        }
    }
    let named =
        |files: &[&str], names: &[&str]| files.iter().any(|file| names.iter().any(|name| same(dir, file, name)));
    if files.is_empty() || (!named(&files, &BASE) && present.contains(BASE[0])) {
        let in_use = files.is_empty().then(|| first(OVERRIDE)).flatten();
        files.splice(0..0, [first(BASE).unwrap_or(BASE[0])].into_iter().chain(in_use));
    }
    if !named(&files, &[PRODUCT.files.overlay]) {
        files.push(PRODUCT.files.overlay);
    }
    files.join(separator.filter(|s| !s.is_empty()).unwrap_or(":"))
}

/// Whether two names mean the same file: `./a.yml`, `a.yml` and its absolute path do.
fn same(dir: &Path, one: &str, other: &str) -> bool {
    let plain = |name: &str| dir.join(name).components().filter(|c| *c != Component::CurDir).collect::<PathBuf>();
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extended(current: Option<&str>, separator: Option<&str>, present: &[&str]) -> String {
        let present = present.iter().map(|s| (*s).to_owned()).collect();
        extend_compose_file(current, separator, Path::new("/srv/mitigator"), &present)
    }

    #[test]
    fn what_compose_took_by_default_is_named_first() {
        for (present, expected) in [
            (&["docker-compose.yml"][..], "docker-compose.yml:docker-compose.vpn.yml"),
            (&[], "docker-compose.yml:docker-compose.vpn.yml"),
            (
                &["docker-compose.yml", "docker-compose.override.yml", "docker-compose.vpn.yml"],
                "docker-compose.yml:docker-compose.override.yml:docker-compose.vpn.yml",
            ),
            (
                &["docker-compose.yml", "docker-compose.override.yaml"],
                "docker-compose.yml:docker-compose.override.yaml:docker-compose.vpn.yml",
            ),
        ] {
            assert_eq!(extended(None, None, present), expected);
            assert_eq!(extended(Some(""), None, present), expected);
            assert_eq!(extended(Some(expected), None, present), expected, "a second time changes nothing");
        }
    }

    #[test]
    fn what_is_in_use_stays_in_its_order() {
        let present = ["docker-compose.yml", "docker-compose.override.yml"];
        for (current, expected) in [
            ("docker-compose.yml:b.yml", "docker-compose.yml:b.yml:docker-compose.vpn.yml"),
            ("docker-compose.vpn.yml:docker-compose.yml", "docker-compose.vpn.yml:docker-compose.yml"),
            ("docker-compose.yml: b.yml:", "docker-compose.yml:b.yml:docker-compose.vpn.yml"),
            ("docker-compose.yml:b.yml:./b.yml", "docker-compose.yml:b.yml:docker-compose.vpn.yml"),
            ("/srv/mitigator/docker-compose.yml", "/srv/mitigator/docker-compose.yml:docker-compose.vpn.yml"),
            ("docker-compose.vpn.yml", "docker-compose.yml:docker-compose.vpn.yml"),
            ("b.yml", "docker-compose.yml:b.yml:docker-compose.vpn.yml"),
        ] {
            assert_eq!(extended(Some(current), None, &present), expected);
        }
        assert_eq!(extended(Some("b.yml"), None, &[]), "b.yml:docker-compose.vpn.yml");
    }

    #[test]
    fn another_separator_is_kept() {
        let present = ["docker-compose.yml"];
        assert_eq!(
            extended(Some("docker-compose.yml;c:d.yml"), Some(";"), &present),
            "docker-compose.yml;c:d.yml;docker-compose.vpn.yml"
        );
        assert_eq!(extended(None, Some(""), &present), "docker-compose.yml:docker-compose.vpn.yml");
    }
}
