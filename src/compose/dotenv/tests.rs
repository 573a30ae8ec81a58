use proptest::prelude::*;

use super::*;

const KEY: &str = "MITIGATOR_VPN_ADDRESS";

fn get(text: &str) -> Option<String> {
    Dotenv::parse(text.as_bytes()).get(KEY)
}

fn set(text: &str, value: &str) -> String {
    let mut dotenv = Dotenv::parse(text.as_bytes());
    dotenv.set(KEY, value).unwrap();
    String::from_utf8(dotenv.to_bytes().to_vec()).unwrap()
}

fn problems(text: &[u8]) -> Vec<String> {
    Dotenv::parse(text).problems().iter().map(|problem| Message::from(problem).to_string()).collect()
}

// Expected values are what docker-compose 1.29.2 (python-dotenv 0.21) read.
#[test]
fn values_are_what_compose_v1_reads() {
    for (text, value) in [
        ("MITIGATOR_VPN_ADDRESS=10.8.3.1", Some("10.8.3.1")),
        ("MITIGATOR_VPN_ADDRESS=10.8.3.1\r\n", Some("10.8.3.1")),
        ("\u{feff}MITIGATOR_VPN_ADDRESS=10.8.3.1\n", Some("10.8.3.1")),
        ("export MITIGATOR_VPN_ADDRESS = 10.8.3.1  \n", Some("10.8.3.1")),
        ("MITIGATOR_VPN_ADDRESS='10.8.3.1' # own\n", Some("10.8.3.1")),
        ("MITIGATOR_VPN_ADDRESS=\"10.8.3.1\"\n", Some("10.8.3.1")),
        ("MITIGATOR_VPN_ADDRESS=10.8.3.1 # own\n", Some("10.8.3.1")),
        ("MITIGATOR_VPN_ADDRESS=10.8.3.1\t# own\n", Some("10.8.3.1")),
        ("MITIGATOR_VPN_ADDRESS=10.8.3.1#own\n", Some("10.8.3.1#own")),
        ("MITIGATOR_VPN_ADDRESS= # own\n", Some("# own")),
        ("MITIGATOR_VPN_ADDRESS=\n", Some("")),
        ("MITIGATOR_VPN_ADDRESS\n", None),
        ("# MITIGATOR_VPN_ADDRESS=10.8.3.1\n", None),
        ("MITIGATOR_VPN_ADDRESS: 10.8.3.1\n", None),
        ("MITIGATOR_VPN_ADDRESS=10.8.3.1\nMITIGATOR_VPN_ADDRESS=10.8.3.2\n", Some("10.8.3.2")),
        ("A='x\nMITIGATOR_VPN_ADDRESS=10.8.3.1\n'\n", None),
        ("A='x\nMITIGATOR_VPN_ADDRESS=10.8.3.1\n", Some("10.8.3.1")),
        ("MITIGATOR_VPN_ADDRESS=\"a\\\"b\\n\\c\"\n", Some("a\"b\n\\c")),
        ("MITIGATOR_VPN_ADDRESS='a\\'b\\n'\n", Some("a'b\\n")),
        ("MITIGATOR_VPN_ADDRESS='a\\'\n", Some("a\\")),
        ("MITIGATOR_VPN_ADDRESS=\"a\" b\n", None),
    ] {
        assert_eq!(get(text).as_deref(), value, "{text:?}");
    }
}

#[test]
fn only_the_value_changes() {
    for (before, after) in [
        ("MITIGATOR_VPN_ADDRESS=1\n", "MITIGATOR_VPN_ADDRESS=10.8.3.7\n"),
        ("A=1\r\nMITIGATOR_VPN_ADDRESS=1\r\nB=2\r\n", "A=1\r\nMITIGATOR_VPN_ADDRESS=10.8.3.7\r\nB=2\r\n"),
        ("  export MITIGATOR_VPN_ADDRESS = 1 # c", "  export MITIGATOR_VPN_ADDRESS = 10.8.3.7 # c"),
        ("MITIGATOR_VPN_ADDRESS=\"1\"# c\n", "MITIGATOR_VPN_ADDRESS=\"10.8.3.7\"# c\n"),
        ("MITIGATOR_VPN_ADDRESS='1'\n", "MITIGATOR_VPN_ADDRESS='10.8.3.7'\n"),
        ("MITIGATOR_VPN_ADDRESS=\n", "MITIGATOR_VPN_ADDRESS=10.8.3.7\n"),
        ("MITIGATOR_VPN_ADDRESS\nA=1\n", "MITIGATOR_VPN_ADDRESS=10.8.3.7\nA=1\n"),
        ("MITIGATOR_VPN_ADDRESS=1\nMITIGATOR_VPN_ADDRESS=2", "MITIGATOR_VPN_ADDRESS=1\nMITIGATOR_VPN_ADDRESS=10.8.3.7"),
        ("garbage (1)\nMITIGATOR_VPN_ADDRESS=1\n", "garbage (1)\nMITIGATOR_VPN_ADDRESS=10.8.3.7\n"),
    ] {
        assert_eq!(set(before, "10.8.3.7"), after);
    }
}

#[test]
fn a_new_key_goes_to_the_end_in_the_files_own_line_ends() {
    for (before, after) in [
        ("", "MITIGATOR_VPN_ADDRESS=10.8.3.7\n"),
        ("A=1\n", "A=1\nMITIGATOR_VPN_ADDRESS=10.8.3.7\n"),
        ("A=1", "A=1\nMITIGATOR_VPN_ADDRESS=10.8.3.7"),
        ("A=1\r\n", "A=1\r\nMITIGATOR_VPN_ADDRESS=10.8.3.7\r\n"),
        ("A=1\r\nB=2", "A=1\r\nB=2\r\nMITIGATOR_VPN_ADDRESS=10.8.3.7"),
    ] {
        assert_eq!(set(before, "10.8.3.7"), after);
        let mut dotenv = Dotenv::parse(after.as_bytes());
        dotenv.set_line(KEY, None).unwrap();
        assert_eq!(dotenv.to_bytes(), before.as_bytes());
    }
}

#[test]
fn a_value_is_quoted_where_it_has_to_be() {
    assert_eq!(set("MITIGATOR_VPN_ADDRESS=1 # c\n", ""), "MITIGATOR_VPN_ADDRESS=\"\" # c\n");
    assert_eq!(set("", "a #b"), "MITIGATOR_VPN_ADDRESS=\"a #b\"\n");
    assert_eq!(set("", "\"a"), "MITIGATOR_VPN_ADDRESS='\"a'\n");
    assert_eq!(set("", "it's"), "MITIGATOR_VPN_ADDRESS=it's\n");
    for value in ["a$b", "a\nb", "'\"#"] {
        let mut dotenv = Dotenv::parse(b"A=1\n");
        assert!(dotenv.set(KEY, value).is_err() || dotenv.get(KEY).as_deref() == Some(value), "{value}");
    }
}

#[test]
fn other_bytes_than_utf8_survive() {
    let before = b"# \xcf\xf0\xe8\nA=\xff\nMITIGATOR_VPN_ADDRESS=1\n\xfe\n";
    let mut dotenv = Dotenv::parse(before);
    dotenv.set(KEY, "2").unwrap();
    assert_eq!(dotenv.to_bytes(), b"# \xcf\xf0\xe8\nA=\xff\nMITIGATOR_VPN_ADDRESS=2\n\xfe\n");
    assert_eq!(problems(before)[0], "line 1: not UTF-8 text (compose v1 refuses the file)");
}

#[test]
fn an_open_quote_at_the_end_is_no_place_to_append_to() {
    let mut dotenv = Dotenv::parse(b"SECRET='hunter2\n");
    assert!(dotenv.set(KEY, "it's").is_err());
    dotenv.set(KEY, "10.8.3.7").unwrap();
    assert_eq!(dotenv.get("SECRET"), None);
}

#[test]
fn problems_have_lines_and_quote_nothing() {
    for (text, expected) in [
        ("A=1\nhunter2 hunter2\n", "line 2: not KEY=value; compose v1 skips it"),
        ("A=1\nA B=hunter2\n", "line 2: a name with a space in it (compose v2 refuses the file)"),
        ("'A'=hunter2\n", "line 1: a name with a character in it that no name may have (compose v2 refuses the file)"),
        ("A=1\nB=\"hunter2\nC=1\n", "line 2: a quote that is never closed (compose v2 refuses the file)"),
        ("A=hunter2${\n", "line 1: a `${` that is no variable (compose v2 refuses the file)"),
        ("=hunter2\n", "line 1: a value without a name (compose v2 refuses the file)"),
        ("A=\0\n", "line 1: a NUL byte (compose v2 refuses the file)"),
        ("MITIGATOR_VPN_ADDRESS=$A\n", "line 1: MITIGATOR_VPN_ADDRESS has a `$` in it"),
        ("MITIGATOR_VPN_ADDRESS=\"a\\\\b\"\n", "line 1: MITIGATOR_VPN_ADDRESS has a backslash in quotes"),
        ("MITIGATOR_VPN_ADDRESS=1\t# c\n", "line 1: compose v1 and v2 read different values for MITIGATOR_VPN_ADDRESS"),
        ("A=1\nMITIGATOR_VPN_MTU:1400\n", "line 2: compose v1 and v2 read different values for MITIGATOR_VPN_MTU"),
        ("COMPOSE_FILE=a\nCOMPOSE_FILE\n", "line 2: compose v1 and v2 read different values for COMPOSE_FILE"),
    ] {
        let problems = problems(text.as_bytes());
        assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{text:?}: {problems:?}");
        assert!(!format!("{problems:?}{:?}", Dotenv::parse(text.as_bytes())).contains("hunter2"), "{problems:?}");
    }
    assert_eq!(problems(b"export \nA=1\n"), ["line 1: not KEY=value; compose v1 skips it"]);
    let usual = "# c\n\nexport A=1\r\nB='x # y'\nC=a$b\nD=\"multi\nline\"\nCOMPOSE_FILE=a.yml:b.yml # c\n";
    assert_eq!(problems(usual.as_bytes()), [""; 0]);
}

#[test]
fn only_our_keys_are_listed() {
    let dotenv =
        Dotenv::parse(b"PASSWORD=hunter2\nCOMPOSE_FILE=a.yml\nMITIGATOR_VPN_PREFIX=24\nMITIGATOR_TOKEN=hunter2\n");
    let ours: Vec<(&str, String)> = dotenv.ours().collect();
    assert_eq!(ours, [("COMPOSE_FILE", "a.yml".into()), ("MITIGATOR_VPN_PREFIX", "24".into())]);
}

fn files() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "\n", "\r\n", "\r", " ", "\t", "=", "#", " #", "'", "\"", "\\", "$", "${", "}", ":", "A", "b c", "export ",
            "\u{feff}", "\u{a0}", "\u{85}", "A=1\n", "B='", "COMPOSE_FILE=a.yml", "MITIGATOR_VPN_ADDRESS=1",
            "MITIGATOR_VPN_ADDRESS = \"1\" # c\n", "export MITIGATOR_VPN_ADDRESS='1'", "MITIGATOR_VPN_ADDRESS\n",
        ]).prop_map(|s| s.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn set_then_restore_gives_the_same_bytes(bytes in files(), value in "[0-9.]{1,9}|a b|x'y|") {
        let mut dotenv = Dotenv::parse(&bytes);
        prop_assert_eq!(dotenv.to_bytes(), &bytes[..]);
        let before = dotenv.line(KEY);
        if dotenv.set(KEY, &value).is_ok() {
            prop_assert_eq!(dotenv.get(KEY), Some(value));
            dotenv.set_line(KEY, before.as_deref()).unwrap();
        }
        prop_assert_eq!(dotenv.to_bytes(), &bytes[..]);
        let _ = dotenv.problems();
    }

    #[test]
    fn a_second_time_changes_nothing(bytes in files(), value in "[0-9.]{1,9}") {
        let mut dotenv = Dotenv::parse(&bytes);
        if dotenv.set(KEY, &value).is_ok() {
            let once = dotenv.clone();
            dotenv.set(KEY, &value).unwrap();
            prop_assert_eq!(dotenv, once);
        }
    }
}
