//! Every parser of what others write, as a function of bytes that panics where a promise of that parser doesn't hold. `fuzz/`
//! feeds them with libFuzzer; the tests here feed them with the corpora of `fuzz/`, and with mutations of those.
//!
//! This module is compiled for tests and under `cfg(fuzzing)`, which cargo-fuzz sets; it is no part of the program.

mod cluster;
mod compose;
mod facts;
mod wireguard;

#[cfg(test)]
mod tests;

use crate::error::Error;
use crate::message::printable;

/// A parser's promises, and their name: it is also that of the corpus and of the target of cargo-fuzz.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("apt_sources", facts::apt_sources),
    ("cluster_toml", cluster::cluster_toml),
    ("compose_config", compose::compose_config),
    ("dotenv_v1", compose::dotenv_v1),
    ("dotenv_v2", compose::dotenv_v2),
    ("dpkg_status", facts::dpkg_status),
    ("firewalld", facts::firewalld),
    ("iptables_save", facts::iptables_save),
    ("journal", cluster::journal),
    ("mountinfo", facts::mountinfo),
    ("nft", facts::nft),
    ("os_release", facts::os_release),
    ("peers", wireguard::peers),
    ("private_conf", wireguard::private_conf),
    ("reply", cluster::reply),
    ("request", cluster::request),
    ("ufw", facts::ufw),
];

/// Tries one input on the target of this name.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of this name");
    target(bytes);
}

/// All that a refusal says.
fn words(error: &Error) -> String {
    format!("{error}\n{}", error.way_out().unwrap_or_default())
}

/// What is said of an input obeys no terminal's commands and isn't endless.
fn is_sayable(said: &str, input: &[u8]) {
    assert_eq!(printable(said), said, "a terminal would obey this");
    assert!(said.len() <= (16 << 10) + 4 * input.len(), "{} bytes are said of {}", said.len(), input.len());
}

fn could_be_of_a_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

/// Nothing that is said is as long as a key.
fn has_no_key(said: &str) {
    assert!(said.as_bytes().split(|byte| !could_be_of_a_key(*byte)).all(|run| run.len() <= 40), "a key is told");
}

/// No run of characters in which a key could stand is repeated, not even a third of one.
fn has_no_key_of(said: &str, input: &str) {
    const LONGEST_SETTING: &str = "PersistentKeepalive";
    let pieces = input.as_bytes().split(|byte| !could_be_of_a_key(*byte)).filter(|run| run.len() > 40);
    for piece in pieces.flat_map(|run| run.windows(14)) {
        let piece = std::str::from_utf8(piece).expect("base64 is text");
        assert!(LONGEST_SETTING.contains(piece) || !said.contains(piece), "a piece of a key is repeated");
    }
}
