//! The release, as os-release names it.
//!
//! The `os-release` crate parses, with protection from its defects: it panics on `NAME="`, never ends on a directory, keeps
//! comments as keys and backslashes as they are, and doesn't look in `/usr/lib`. So [`Host`] reads the file, each line is
//! unquoted as by a shell, and only plain `KEY=value` lines are passed to the crate.

use std::path::Path;

use crate::distro::OsRelease;
use crate::error::Result;
use crate::host::Host;
use crate::message::turns_text;

/// Where os-release may stand, the administrator's first.
const PATHS: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// Reads os-release. A host without one is an [`OsRelease`] with no id, which no release matches; a file that can't be read as
/// text is bad input.
pub fn gather(host: &Host) -> Result<OsRelease> {
    for path in PATHS {
        if let Some(text) = host.read_text(Path::new(path))? {
            return Ok(parse(&text));
        }
    }
    Ok(OsRelease::default())
}

/// Parses any text without failing.
pub fn parse(text: &str) -> OsRelease {
    let release: os_release::OsRelease = text.lines().filter_map(clean).collect();
    let extra = |key: &str| release.extra.get(key).filter(|value| !value.is_empty()).cloned();
    OsRelease {
        id: release.id.to_lowercase(),
        id_like: release.id_like.split_whitespace().map(str::to_lowercase).collect(),
        version_id: release.version_id,
        codename: release.version_codename,
        parent_codename: extra("UBUNTU_CODENAME").or_else(|| extra("DEBIAN_CODENAME")),
        pretty_name: if release.pretty_name.is_empty() { release.name } else { release.pretty_name },
    }
}

/// One `KEY=value` line without quotes; `None` for a comment, an empty line or anything else.
fn clean(line: &str) -> Option<String> {
    let (key, value) = line.trim().split_once('=')?;
    let named = !key.is_empty() && key.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if !named {
        return None;
    }
    // Names are shown on terminals, so what a terminal would obey is removed. A quote left at either end would make the
    // crate unquote a second time.
    let value: String = unquote(value.trim()).chars().filter(|c| !c.is_control() && !turns_text(*c)).collect();
    Some(format!("{key}={}", value.trim_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'')))
}

/// The value as a shell reads it: quotes removed, backslashes resolved.
fn unquote(value: &str) -> String {
    let (quote, inner) = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => (Some(quote), &value[1..]),
        _ => (None, value),
    };
    let mut plain = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == quote => break,
            '\\' if quote != Some('\'') => plain.extend(chars.next()),
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn recorded(name: &str) -> OsRelease {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts/os-release").join(name);
        parse(&std::fs::read_to_string(path).unwrap())
    }

    #[test]
    fn a_release_and_a_derivative_are_read() {
        let debian = recorded("debian-10");
        assert_eq!(
            (debian.id.as_str(), debian.version_id.as_str(), debian.codename.as_str()),
            ("debian", "10", "buster")
        );
        assert_eq!(debian.pretty_name, "Debian GNU/Linux 10 (buster)");
        assert!(debian.id_like.is_empty() && debian.parent_codename.is_none());
        let mint = recorded("linuxmint-20.3");
        assert_eq!((mint.id_like, mint.parent_codename), (vec!["ubuntu".to_owned()], Some("focal".to_owned())));
        assert_eq!(recorded("lmde-6").parent_codename.as_deref(), Some("bookworm"));
    }

    #[test]
    fn quotes_escapes_and_comments_are_a_shells() {
        let os = parse(
            "#ID=comment\n  ID='Debian'  \nID_LIKE=\nVERSION_ID=\"1\\\"2\"\nPRETTY_NAME=\"a \\$b\" # c\nexport ID=no\nid=no\n",
        );
        assert_eq!(os.id, "debian");
        assert_eq!(os.version_id, "1\"2");
        assert_eq!(os.pretty_name, "a $b");
    }

    #[test]
    fn lines_that_break_the_parser_crate_are_harmless() {
        for text in [
            "NAME=\"",
            "NAME='",
            "ID=\"\"\"",
            "PRETTY_NAME=\\",
            "ID=\\ ' \\",
            "=",
            "ID",
            "NAME=\"\\\"\"",
            "ID=\u{feff}\"",
        ] {
            parse(text);
        }
        assert_eq!(parse("PRETTY_NAME=\"\x1b[31mred\u{202e}\"").pretty_name, "[31mred");
    }

    #[test]
    fn usr_lib_is_the_second_choice_and_no_file_is_no_release() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path()).unwrap();
        assert_eq!(gather(&host).unwrap(), OsRelease::default());
        std::fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
        std::fs::write(dir.path().join("usr/lib/os-release"), "ID=debian\n").unwrap();
        assert_eq!(gather(&host).unwrap().id, "debian");
        std::fs::create_dir_all(dir.path().join("etc/os-release")).unwrap();
        let error = gather(&host).unwrap_err();
        assert_eq!(error.class().exit_code(), 2);
        assert!(error.to_string().contains("os-release is a directory"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            parse(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn any_line_of_a_known_key_is_survived(value in "[\"'\\\\ a#=]{0,12}") {
            for key in ["NAME", "ID", "VERSION_ID", "UBUNTU_CODENAME"] {
                parse(&format!("{key}={value}\n"));
            }
        }
    }
}
