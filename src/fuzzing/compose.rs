//! `.env` as the two generations of compose read it, and the configuration they resolve.

use super::is_sayable;
use crate::compose::dotenv::{Dotenv, v1, v2};
use crate::compose::{parse_config, without_values};
use crate::message::Message;
use crate::product::PRODUCT;

/// An edit that is taken back leaves no trace, the same edit again changes nothing, and no value of others is told.
pub(super) fn dotenv_v1(bytes: &[u8]) {
    let before = Dotenv::parse(bytes);
    assert_eq!(before.to_bytes(), bytes);
    let (entries, malformed) = v1::entries(bytes);
    let lines = 1 + bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    assert!(malformed.iter().chain(entries.iter().map(|entry| &entry.line)).all(|line| (1..=lines).contains(line)));
    assert!(entries.windows(2).all(|two| two[0].end <= two[1].span.start));

    for key in [PRODUCT.env.vpn_address, PRODUCT.env.compose_file] {
        for value in ["10.8.3.7", "a.yml:b.yml", "a b", ""] {
            let (mut edited, line) = (before.clone(), before.line(key));
            if edited.set(key, value).is_ok() {
                assert_eq!(edited.get(key).as_deref(), Some(value));
                let once = edited.clone();
                edited.set(key, value).expect("it is so already");
                assert_eq!(edited, once);
                edited.set_line(key, line.as_deref()).expect("it was so before");
            }
            assert_eq!(edited.to_bytes(), bytes, "{key}={value}");
        }
    }

    for problem in before.problems() {
        let message = Message::from(&problem);
        is_sayable(&message.to_string(), bytes);
        // Of all sentences nothing but the arguments: numbers, and names of our own keys.
        let arguments = message.render(&|_| "\u{1}{reason}\u{1}{key}\u{1}");
        let mut names = arguments.split('\u{1}').filter(|word| !matches!(*word, "" | "{reason}" | "{key}"));
        assert!(names.all(|name| PRODUCT.env.is_ours(name)), "{message}");
    }
}

/// What is read is the same when it is written in quotes and read again.
pub(super) fn dotenv_v2(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match v2::values(&text) {
        Ok(values) => {
            let plain = |text: &&String| !text.contains(['\'', '\\']);
            let values: std::collections::HashMap<_, _> =
                values.into_iter().filter(|(key, value)| plain(&value) && !key.is_empty()).collect();
            // A name may itself begin with the word that is left out before a name.
            let export = |key: &str| if key.starts_with("export") { "export " } else { "" };
            let line = |(key, value): (&String, &String)| format!("{}{key}='{value}'\n", export(key));
            let written: String = values.iter().map(line).collect();
            assert_eq!(v2::values(&written).as_ref(), Ok(&values));
        }
        Err(refusal) => {
            assert!((1..=text.split('\n').count()).contains(&refusal.line));
            is_sayable(&refusal.reason.to_string(), bytes);
        }
    }
    let dotenv = Dotenv::parse(bytes);
    let problems = dotenv.problems();
    // Where nothing is reported, both generations read the same.
    if problems.is_empty()
        && let Ok(values) = v2::values(&text)
    {
        for (key, value) in dotenv.ours() {
            assert_eq!(values.get(key), Some(&value), "{key}");
        }
    }
}

/// What can't be read is told without the values of `.env`, which are the input's second half.
pub(super) fn compose_config(bytes: &[u8]) {
    let (yaml, env) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &b"TOKEN=hunter2\n"[..]),
    };
    let yaml = String::from_utf8_lossy(yaml);
    match parse_config(&yaml) {
        Ok(config) => {
            assert!(config.gateway.is_none() || config.services.contains(PRODUCT.gateway.name));
            assert_eq!(config.dataplane, config.services.contains(PRODUCT.dataplane.name));
        }
        Err(error) => is_sayable(&Message::foreign(without_values(&error.to_string(), env)).to_string(), bytes),
    }
    let shown = without_values(&yaml, env);
    let env = String::from_utf8_lossy(env);
    for value in env.lines().filter_map(|line| Some(line.split_once('=')?.1)) {
        let secret = value.len() >= 8 && value.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        assert!(!secret || !shown.contains(value), "a value of .env is shown");
    }
}
