//! How compose v2 reads a `.env`: compose-go's grammar, which differs from v1's on `#`, `$`, quotes and `:`, and
//! refuses the whole file where v1 skips a line.
//!
//! It serves to find where the two disagree; edits don't follow it.

use std::collections::HashMap;

use crate::message;
use crate::message::Message;

/// Why v2 refuses the file, and on which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub line: usize,
    pub reason: Message,
}

/// All values, before variables in them are replaced.
pub(crate) fn values(text: &str) -> Result<HashMap<String, String>, Rejection> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut values = HashMap::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        while rest.starts_with('#') {
            rest = rest.find('\n').map_or("", |at| rest[at..].trim_start());
        }
        if rest.is_empty() {
            return Ok(values);
        }
        let line = 1 + text[..text.len() - rest.len()].matches('\n').count();
        let refuse = |reason| Rejection { line, reason };
        let (key, inherited, after) = key(rest).map_err(refuse)?;
        rest = after;
        if !inherited {
            let value = value(&mut rest).map_err(refuse)?;
            values.insert(key.to_owned(), value);
            if key.is_empty() {
                return Err(refuse(message!("a value without a name")));
            }
        }
    }
}

/// The key, whether it stands alone, and what comes after.
fn key(statement: &str) -> Result<(&str, bool, &str), Message> {
    let mut text = statement;
    if let Some(after) = text.strip_prefix("export")
        && after.starts_with(['\t', '\n', '\x0c', '\r', ' '])
    {
        text = after.trim_start_matches(is_space);
    }
    let mut end = None;
    for (at, c) in text.char_indices() {
        match c {
            '=' | ':' | '\n' => {
                end = Some((at, c));
                break;
            }
            '_' | '.' | '-' | '[' | ']' => {}
            c if is_space(c) || c.is_alphanumeric() => {}
            _ => return Err(message!("a name with a character in it that no name may have")),
        }
    }
    // Without an end of the key, the whole text is the value of an empty key.
    let (key, rest, inherited) = match end {
        Some((at, c)) => (&text[..at], &text[at + 1..], c == '\n'),
        None => ("", text, false),
    };
    let key = key.trim_end();
    if key.contains(' ') {
        return Err(message!("a name with a space in it"));
    }
    Ok((key, inherited, rest.trim_start_matches(is_space)))
}

fn value(rest: &mut &str) -> Result<String, Message> {
    let text = *rest;
    let Some(quote @ ('\'' | '"')) = text.chars().next() else {
        let (line, after) = text.split_once('\n').unwrap_or((text, ""));
        *rest = after;
        let value = line.split(" #").next().unwrap_or_default().trim_end();
        return template(value).map(str::to_owned);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            *rest = &text[at + 1..];
            return if quote == '"' { template(&value).map(str::to_owned) } else { Ok(value) };
        }
        match (escaped, c) {
            (false, '\\') => {
                escaped = true;
                continue;
            }
            (true, c) if c != quote => value.extend(['\\', c]),
            (_, c) => value.push(c),
        }
        escaped = false;
    }
    Err(message!("a quote that is never closed"))
}

/// The value itself, if the variables in it are well-formed.
fn template(value: &str) -> Result<&str, Message> {
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if let Some(braced) = rest.strip_prefix('{') {
            let name = braced.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let named = !braced.starts_with(|c: char| c.is_ascii_digit()) && name.len() < braced.len();
            let operator = name.strip_prefix(':').unwrap_or(name).starts_with(['-', '+', '?']);
            if !named || !(name.starts_with('}') || operator && name.contains('}')) {
                return Err(message!("a `${` that is no variable"));
            }
        }
    }
    Ok(value)
}

/// White space that doesn't end a line.
fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}
