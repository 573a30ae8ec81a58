//! vpn-private.conf: the key of this instance and the port it listens on (P5).
//!
//! The text of the file and the key in it are kept apart: the *template* is the file's text with a placeholder where
//! the key stands. It holds no secret, so plans, journals and receipts can carry it; only together with the key it
//! becomes the file again, byte for byte. An operator's comments and an `FwMark` survive that way.

use std::ops::Range;
use std::path::Path;

use zeroize::Zeroizing;

use super::PrivateKey;
use super::conf::{self, LineProblem, Problems};
use crate::error::Result;
use crate::host::Host;
use crate::message;
use crate::product::PRODUCT;

/// Stands in a template where the file has the key.
pub(crate) const PLACEHOLDER: &str = "{private-key}";

/// Settings of wg-quick, which `wg` refuses; the gateway is configured with `wg`'s files.
const WG_QUICK: &[&str] = &["address", "dns", "mtu", "table", "preup", "postup", "predown", "postdown", "saveconfig"];

/// The private file: its key, and its text without the key.
#[derive(Debug)]
pub struct PrivateConf {
    /// The key.
    pub key: PrivateKey,
    /// `ListenPort`, if the file names one.
    pub port: Option<u16>,
    /// The file's text with a placeholder for the key.
    pub template: String,
}

impl PrivateConf {
    /// The file of a new instance.
    pub(crate) fn fresh(key: PrivateKey, port: u16) -> Self {
        PrivateConf { key, port: Some(port), template: Self::fresh_template(port) }
    }

    /// The template of a new instance's file, for when there is no key yet.
    pub(crate) fn fresh_template(port: u16) -> String {
        format!("[Interface]\nListenPort = {port}\nPrivateKey = {PLACEHOLDER}\n")
    }

    /// Parses strictly. The error has every problem, and nothing from the file that could be a secret.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_named(PRODUCT.files.private_conf, text)
    }

    /// As [`PrivateConf::parse`], with the file's name in the error.
    pub(crate) fn parse_named(file: &str, text: &str) -> Result<Self> {
        let mut problems = Problems::of(file);
        let found = Found::scan(text, &mut problems);
        let key = found.key.as_ref().and_then(|(line, span)| match text[span.clone()].parse::<PrivateKey>() {
            Ok(key) => Some(key),
            Err(error) => {
                let command = format!("rm {}", problems.quoted_file());
                let hint =
                    message!("put the key back from a backup, or remove the file for a new key: {command}", command);
                problems.add(*line, message!("{field}: {reason}", field = "PrivateKey", reason = &error), hint);
                None
            }
        });
        if let (Some(key), Some((_, span))) = (&key, &found.key) {
            refuse_other_keys(text, span, key, &mut problems);
        }
        problems.none_or_all().map_err(|problems| LineProblem::error(file, &problems))?;
        let (_, span) = found.key.expect("a file without a key is a problem");
        let template = format!("{}{PLACEHOLDER}{}", &text[..span.start], &text[span.end..]);
        Ok(PrivateConf { key: key.expect("a bad key is a problem"), port: found.port.map(|(port, _)| port), template })
    }

    /// Reads the file; `None` when there is none.
    pub(crate) fn read(host: &Host, path: &Path) -> Result<Option<Self>> {
        let Some(text) = host.read_text(path)?.map(Zeroizing::new) else { return Ok(None) };
        Self::parse_named(&host.display(path), &text).map(Some)
    }

    /// The same template with this port: one line is edited, or inserted below `[Interface]`.
    pub(crate) fn template_with_port(template: &str, port: u16) -> String {
        let found = Found::scan(template, &mut Problems::of(""));
        let mut text = template.to_owned();
        match (found.port, found.header_end) {
            (Some((known, _)), _) if known == port => {}
            (Some((_, span)), _) => text.replace_range(span, &port.to_string()),
            (None, Some(end)) => text.insert_str(end, &format!("ListenPort = {port}\n")),
            (None, None) => {}
        }
        text
    }

    /// The file's text with `key` in it, wiped when dropped: for writing the file and for nothing else.
    pub(crate) fn template_with(&self, key: &PrivateKey) -> Zeroizing<String> {
        Self::fill(&self.template, key)
    }

    /// As [`PrivateConf::template_with`], for a template alone.
    pub(crate) fn fill(template: &str, key: &PrivateKey) -> Zeroizing<String> {
        let key = key.expose();
        let (before, after) = template.split_once(PLACEHOLDER).unwrap_or((template, ""));
        // With its full capacity from the start: a text that grows leaves copies behind that nobody wipes.
        let mut text = Zeroizing::new(String::with_capacity(before.len() + key.len() + after.len()));
        text.push_str(before);
        text.push_str(&key);
        text.push_str(after);
        text
    }
}

/// What a text has in it, and where.
#[derive(Default)]
struct Found {
    header_end: Option<usize>,
    key: Option<(usize, Range<usize>)>,
    port: Option<(u16, Range<usize>)>,
}

impl Found {
    fn scan(text: &str, problems: &mut Problems<'_>) -> Found {
        let mut found = Found::default();
        let mut mark = None;
        let mut port = None;
        let lines = conf::lines(text, problems);
        for line in lines.iter().filter(|line| !line.content.is_empty()) {
            let number = line.number;
            if line.content.starts_with('[') {
                let mine = line.content.eq_ignore_ascii_case("[Interface]");
                if mine && found.header_end.is_none() {
                    found.header_end = Some(line.span.end);
                } else if line.content.eq_ignore_ascii_case("[Peer]") {
                    let reason = message!("a [Peer] section in the private file");
                    problems.add(number, reason, message!("members belong into vpn-public.conf"));
                    break;
                } else {
                    let reason =
                        if mine { message!("a second [Interface] section") } else { message!("an unknown section") };
                    problems.add(number, reason, message!("one [Interface] section is all that belongs in here"));
                }
                continue;
            }
            let Some((name, value)) = line.setting() else {
                let reason = message!("neither a section, nor `Name = value`, nor a comment");
                problems.add(number, reason, message!("comments begin with #, the only section is [Interface]"));
                continue;
            };
            if found.header_end.is_none() {
                problems.add(number, message!("stands outside of any section"), message!("put [Interface] above it"));
            }
            let span = line.value_span(value);
            let given = match name.to_ascii_lowercase().as_str() {
                "privatekey" => found.key.replace((number, span)).map(|(first, _)| first),
                "listenport" => {
                    match listen_port(value) {
                        Some(value) => found.port = Some((value, span)),
                        None => problems.add(
                            number,
                            message!("ListenPort: not a port from 1 to 65535"),
                            message!("write the port the other instances know, ListenPort = 4567"),
                        ),
                    }
                    port.replace(number)
                }
                "fwmark" => {
                    if !is_mark(value) {
                        let hint = message!("write a number, 0x and hexadecimal, or off");
                        problems.add(number, message!("FwMark: not a number"), hint);
                    }
                    mark.replace(number)
                }
                quick if WG_QUICK.contains(&quick) => {
                    let hint =
                        message!("take the line out; the gateway takes its address from MITIGATOR_VPN_ADDRESS in .env");
                    let reason = message!("{name} is a setting of wg-quick; wg refuses the file", name);
                    problems.add(number, reason, hint);
                    None
                }
                _ => {
                    let hint = message!("[Interface] has PrivateKey, ListenPort and, where needed, FwMark");
                    problems.add(number, conf::unknown_key(name), hint);
                    None
                }
            };
            if let Some(first) = given {
                let reason = message!("{name} for the second time, first on line {line}", name, line = first);
                problems.add(number, reason, message!("keep one of the two"));
            }
        }
        let command = format!("rm {}", problems.quoted_file());
        let hint = message!("put the file back from a backup, or remove it for a new key: {command}", command);
        if text.is_empty() {
            problems.add(1, message!("the file is empty"), hint);
        } else if found.key.is_none() && !lines.is_empty() {
            problems.add(1, message!("no PrivateKey in it"), hint);
        }
        found
    }
}

/// Refuses any other key in the file, in a comment for example: it would go into plans and journals with the template.
fn refuse_other_keys(text: &str, own: &Range<usize>, key: &PrivateKey, problems: &mut Problems<'_>) {
    // So much of the key is no accident, and the rest of it could be tried.
    const PIECE: usize = 12;
    let (key, public) = (key.expose(), key.public().to_string());
    let public = public.trim_end_matches('=');
    for line in conf::lines(text, &mut Problems::of("")) {
        let mut rest = text[line.span.clone()].to_owned();
        if line.span.contains(&own.start) {
            rest.replace_range(own.start - line.span.start..own.end - line.span.start, "");
        }
        let rest = Zeroizing::new(rest);
        let of_ours = |piece: &[u8]| key.as_bytes().windows(PIECE).any(|own| own == piece);
        let has_ours = rest.as_bytes().windows(PIECE).any(of_ours);
        if rest.contains(PLACEHOLDER)
            || has_ours
            || conf::words(&rest).any(|word| conf::has_key(word) && word != public)
        {
            let hint = message!("take it out of this file; plans and journals may repeat what stands beside the key");
            problems.add(line.number, message!("something that looks like another key"), hint);
        }
    }
}

fn listen_port(value: &str) -> Option<u16> {
    // For wg, 0 is any free port, another one at every start.
    value.parse().ok().filter(|port| *port > 0 && value.bytes().all(|b| b.is_ascii_digit()))
}

fn is_mark(value: &str) -> bool {
    match value.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).is_ok() && !hex.starts_with('+'),
        None => value.eq_ignore_ascii_case("off") || (value.parse::<u32>().is_ok() && !value.starts_with('+')),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use proptest::prelude::*;

    use super::*;
    use crate::host::Mode;

    const KEY: &str = "yDPg5doavYH7fdD86nt+cOzSBL4znVZcrcrJwjY/Xmw=";
    fn with_port(conf: PrivateConf, port: u16) -> PrivateConf {
        PrivateConf { port: Some(port), template: PrivateConf::template_with_port(&conf.template, port), ..conf }
    }

    const SAMPLE: &str = "[Interface]\nListenPort = 4567\nPrivateKey = yDPg5doavYH7fdD86nt+cOzSBL4znVZcrcrJwjY/Xmw=\n";

    #[test]
    fn a_new_file_is_the_vendors_example() {
        let conf = PrivateConf::fresh(KEY.parse().unwrap(), 4567);
        assert_eq!(*conf.template_with(&conf.key), SAMPLE);
        let read = PrivateConf::parse(SAMPLE).unwrap();
        assert_eq!((read.port, &read.template, &read.key), (Some(4567), &conf.template, &conf.key));
    }

    #[test]
    fn comments_and_a_mark_survive_and_no_debug_shows_the_key() {
        let text = format!("# ours\n\n[interface]\n  privatekey={KEY} # do not share\nFwMark = 0x51\n");
        let conf = PrivateConf::parse(&text).unwrap();
        assert_eq!(*conf.template_with(&conf.key), text);
        assert_eq!(conf.port, None);
        assert!(!format!("{conf:?}").contains(&KEY[..8]));
        let conf = with_port(conf, 5000);
        assert_eq!(*conf.template_with(&conf.key), text.replace("[interface]\n", "[interface]\nListenPort = 5000\n"));
        let conf = with_port(conf, 4567);
        assert_eq!(*conf.template_with(&conf.key), text.replace("[interface]\n", "[interface]\nListenPort = 4567\n"));
    }

    #[test]
    fn the_public_half_may_be_noted_beside_the_key() {
        let public = KEY.parse::<PrivateKey>().unwrap().public();
        assert!(PrivateConf::parse(&format!("# public: {public}\n{SAMPLE}")).is_ok());
    }

    #[test]
    fn every_bad_line_is_reported_without_a_word_of_it() {
        let other = "UguPyBThx/+xMXeTbRYkKlP0Wh/QZT3vTLPOVaaXTD8=";
        for (text, reason) in [
            (String::new(), "line 1: the file is empty"),
            ("[Interface]\nListenPort = 4567\n".into(), "line 1: no PrivateKey in it"),
            (SAMPLE.replace("[Interface]\n", ""), "line 1: stands outside of any section"),
            (SAMPLE.replace("Xmw=", "Xmw"), "line 3: PrivateKey: not a WireGuard key"),
            (SAMPLE.replace("PrivateKey = ", "PrivateKey "), "line 3: an unknown key"),
            (SAMPLE.replace("4567", "0"), "line 2: ListenPort: not a port"),
            (SAMPLE.replace("4567", "65536"), "line 2: ListenPort: not a port"),
            (SAMPLE.replace("4567", KEY), "line 2: ListenPort: not a port"),
            (format!("{SAMPLE}ListenPort = 1\n"), "line 4: ListenPort for the second time, first on line 2"),
            (format!("{SAMPLE}PrivateKey = {other}\n"), "line 4: PrivateKey for the second time, first on line 3"),
            (format!("{SAMPLE}Address = 10.8.3.1/24\n"), "line 4: Address is a setting of wg-quick"),
            (format!("{SAMPLE}PostUp = curl -d {other}\n"), "line 4: PostUp is a setting of wg-quick"),
            (SAMPLE.replace("H7fdD86nt+cOzSBL4znVZcrcrJwjY/Xmw=", "H7\nZcrcrJwjYXmw="), "line 4: an unknown key"),
            (format!("{SAMPLE}FwMark = {other}\n"), "line 4: FwMark: not a number"),
            (format!("{SAMPLE}PresharedKey = {other}\n"), "line 4: unknown key PresharedKey"),
            (format!("{SAMPLE}# old: {other}\n"), "line 4: something that looks like another key"),
            (format!("{SAMPLE}# {}\n", &KEY[..40]), "line 4: something that looks like another key"),
            (format!("{SAMPLE}# was {}…\n", &KEY[20..32]), "line 4: something that looks like another key"),
            (format!("{SAMPLE}# {{private-key}}\n"), "line 4: something that looks like another key"),
            (format!("{SAMPLE}[Peer]\nPublicKey = {other}\n"), "line 4: a [Peer] section"),
            (format!("{SAMPLE}[Interface]\n"), "line 4: a second [Interface] section"),
            (format!("\u{feff}{SAMPLE}"), "line 1: a byte order mark"),
            (SAMPLE.replace('\n', "\r\n"), "line 1: Windows line endings"),
            (format!("{SAMPLE}\0"), "line 4: a NUL byte"),
        ] {
            let error = PrivateConf::parse(&text).unwrap_err();
            assert!(error.to_string().contains(&format!("vpn-private.conf: {reason}")), "{reason}: {error}");
            assert!(error.class().exit_code() == 2 && error.way_out().is_some(), "{error:?}");
            let told = format!("{error}{error:?}");
            assert!(!told.contains(&KEY[..8]) && !told.contains(&other[..8]), "{told}");
        }
    }

    /// Whether a text is anywhere in what this process may write to. It is given backwards, so that asking puts it nowhere.
    fn is_in_memory(backwards: &[u8]) -> bool {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let first = *backwards.last().unwrap();
        maps.lines().filter(|line| line.contains(" rw-p ")).any(|line| {
            let (range, _) = line.split_once(' ').unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
            let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
            // It may have been given back meanwhile.
            let Ok(()) = memory.read_exact_at(&mut bytes, from) else { return false };
            let starts = bytes.windows(backwards.len()).filter(|window| window[0] == first);
            let found = starts.into_iter().any(|window| window.iter().eq(backwards.iter().rev()));
            bytes.fill(0);
            found
        })
    }

    #[test]
    fn the_text_of_a_key_that_was_read_and_written_is_in_no_memory_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let script =
            "k=$(head -c 32 /dev/urandom | base64); printf '[Interface]\nPrivateKey = %s\n' $k >f; printf %s $k | rev";
        let made = std::process::Command::new("sh").args(["-c", script]).current_dir(dir.path()).output().unwrap();
        let backwards = made.stdout;
        assert_eq!(backwards.len(), 44);
        let mut host = Host::at(dir.path()).unwrap();
        let conf = PrivateConf::read(&host, Path::new("/f")).unwrap().unwrap();
        let text = conf.template_with(&conf.key);
        assert!(is_in_memory(&backwards), "or the question proves nothing");
        host.write(Path::new("/g"), text.as_bytes(), Mode::SECRET).unwrap();
        drop((conf, text));
        assert!(!is_in_memory(&backwards));
    }

    proptest! {
        #[test]
        fn template_and_key_make_the_file_again(
            before in "(\n|# [a-z=\\[\\]]{0,20}\n){0,3}",
            between in "(\n|# .{0,20}\n|FwMark=[1-9]\n){0,1}",
            port in prop::option::of(1u16..),
            final_newline: bool,
        ) {
            let port_line = port.map(|p| format!("ListenPort\t=  {p} # p\n")).unwrap_or_default();
            let mut text = format!("{before}[Interface]\n{between}{port_line}PrivateKey = {KEY}\n");
            if !final_newline {
                text.pop();
            }
            if let Ok(conf) = PrivateConf::parse(&text) {
                prop_assert_eq!(conf.port, port);
                prop_assert!(!conf.template.contains(KEY));
                prop_assert_eq!(&*conf.template_with(&conf.key), &text);
                let moved = with_port(conf, 1);
                let read = PrivateConf::parse(&moved.template_with(&moved.key)).unwrap();
                prop_assert_eq!(read.port, Some(1));
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in "(\\PC|[\\[\\]=#\n\r\t\0]|\\[Interface\\]\n|PrivateKey = |ListenPort = ){0,60}") {
            let _ = PrivateConf::parse(&text);
            let _ = PrivateConf::template_with_port(&text, 1);
        }
    }
}
