//! The `.env` file: one line is edited, every other byte stays (FN-34).
//!
//! The two generations of compose read this file by different grammars. Edits follow v1's, which reads more of it. An edit
//! is accepted only if both generations then read the new value, and all other values are unchanged. Values of keys that
//! aren't ours may be secrets: nothing in this module prints one.

pub(crate) mod v1;
pub(crate) mod v2;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use self::v1::Assignment;
use crate::compose::Generation;
use crate::error::{Error, Result};
use crate::message;
use crate::message::Message;
use crate::product::PRODUCT;

/// A line that one generation of compose refuses, skips, or reads differently from the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DotenvProblem {
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong, without any text of the file.
    pub reason: Message,
    /// The generation that refuses the whole file because of it.
    pub stops: Option<Generation>,
}

impl From<&DotenvProblem> for Message {
    fn from(problem: &DotenvProblem) -> Self {
        let DotenvProblem { line, reason, stops } = problem;
        match stops {
            Some(Generation::V1) => {
                message!("line {line}: {reason} (compose v1 refuses the file)", line = *line, reason)
            }
            Some(Generation::V2) => {
                message!("line {line}: {reason} (compose v2 refuses the file)", line = *line, reason)
            }
            None => message!("line {line}: {reason}", line = *line, reason),
        }
    }
}

/// A `.env` file, byte for byte.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Dotenv {
    bytes: Vec<u8>,
    entries: Vec<Assignment>,
    /// Lines of the statements that v1 skips.
    malformed: Vec<usize>,
}

impl fmt::Debug for Dotenv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dotenv({} entries)", self.entries.len())
    }
}

impl Dotenv {
    /// Reads any bytes; [`Dotenv::problems`] has what is wrong with them.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let (entries, malformed) = v1::entries(bytes);
        Dotenv { bytes: bytes.to_vec(), entries, malformed }
    }

    /// The exact bytes.
    pub(crate) fn to_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The value of a key as v1 reads it, without substitution of variables. Of several lines the last one counts.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let value = self.entry(key)?.value.as_ref()?;
        Some(String::from_utf8_lossy(&value.bytes).into_owned())
    }

    /// The lines of the statement that counts for a key, as they are, without the last line end.
    pub(crate) fn line(&self, key: &str) -> Option<String> {
        self.entry(key).map(|entry| String::from_utf8_lossy(&self.bytes[entry.span.clone()]).into_owned())
    }

    /// The keys that are ours, with their values.
    pub(crate) fn ours(&self) -> impl Iterator<Item = (&str, String)> {
        let keys: BTreeSet<&str> = self
            .entries
            .iter()
            .filter_map(|e| std::str::from_utf8(&e.key).ok())
            .filter(|key| PRODUCT.env.is_ours(key))
            .collect();
        keys.into_iter().filter_map(|key| self.get(key).map(|value| (key, value)))
    }

    fn entry(&self, key: &str) -> Option<&Assignment> {
        self.entries.iter().rev().find(|entry| entry.key == key.as_bytes())
    }

    /// Gives a key this value. In an existing line only the value changes: `export`, quotes and a comment stay. Without
    /// one, a line is appended.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<()> {
        if self.get(key).as_deref() == Some(value) {
            return Ok(());
        }
        if self.entry(key).is_some_and(|entry| std::str::from_utf8(&self.bytes[entry.span.clone()]).is_err()) {
            // The journal keeps lines as text, so undo couldn't restore this one.
            return Err(self.uneditable(key));
        }
        let plain = value.to_owned();
        let (double, single) = (format!("\"{value}\""), format!("'{value}'"));
        let quote = self.entry(key).and_then(|e| e.value.as_ref()).and_then(|v| v.quote);
        let written = match quote {
            None => [plain, double, single],
            Some(b'"') => [double, single, plain],
            Some(_) => [single, double, plain],
        };
        for written in written {
            let bytes = match self.entry(key) {
                Some(Assignment { value: Some(value), .. }) => self.spliced(value.span.clone(), &written),
                Some(Assignment { key_end, .. }) => self.spliced(*key_end..*key_end, &format!("={written}")),
                None => self.appended(&format!("{key}={written}")),
            };
            let edited = Dotenv::parse(&bytes);
            let takes = edited.get(key).as_deref() == Some(value) && edited.difference(key).is_none();
            if takes && edited.agrees(self, key) && edited.agrees_in_v2(self, key) {
                *self = edited;
                return Ok(());
            }
        }
        Err(self.uneditable(key))
    }

    /// Restores the line of a key as [`Dotenv::line`] gave it; `None` removes what [`Dotenv::set`] had appended.
    pub(crate) fn set_line(&mut self, key: &str, line: Option<&str>) -> Result<()> {
        if self.line(key).as_deref() == line {
            return Ok(());
        }
        let bytes = match (self.entry(key), line) {
            (Some(entry), Some(line)) => self.spliced(entry.span.clone(), line),
            (None, Some(line)) => self.appended(line),
            (Some(entry), None) => self.without(entry),
            (None, None) => return Ok(()),
        };
        let edited = Dotenv::parse(&bytes);
        if line.is_some_and(|line| edited.line(key).as_deref() != Some(line)) || !edited.agrees(self, key) {
            return Err(self.uneditable(key));
        }
        *self = edited;
        Ok(())
    }

    /// The lines that compose refuses, skips, or reads differently in its two generations.
    pub(crate) fn problems(&self) -> Vec<DotenvProblem> {
        let mut problems: Vec<DotenvProblem> = Vec::new();
        let mut add = |line, reason, stops| problems.push(DotenvProblem { line, reason, stops });
        let text = String::from_utf8_lossy(&self.bytes);
        if let Err(error) = std::str::from_utf8(&self.bytes) {
            add(line_at(&self.bytes, error.valid_up_to()), message!("not UTF-8 text"), Some(Generation::V1));
        }
        if let Some(at) = self.bytes.iter().position(|b| *b == 0) {
            add(line_at(&self.bytes, at), message!("a NUL byte"), Some(Generation::V2));
        }
        for line in &self.malformed {
            add(*line, message!("not KEY=value; compose v1 skips it"), None);
        }
        let mut keys: BTreeSet<Vec<u8>> = self.entries.iter().map(|e| e.key.clone()).collect();
        match v2::values(&text) {
            Ok(theirs) => keys.extend(theirs.into_keys().map(String::into_bytes)),
            Err(refusal) => add(refusal.line, refusal.reason, Some(Generation::V2)),
        }
        let keys = keys.iter().filter_map(|key| std::str::from_utf8(key).ok());
        for key in keys.filter(|key| PRODUCT.env.is_ours(key)) {
            if let Some(reason) = self.difference(key) {
                // What v2 alone takes for an assignment, `KEY: value`, is found by its name.
                let here = || self.bytes.windows(key.len()).position(|piece| piece == key.as_bytes()).unwrap_or(0);
                add(self.entry(key).map_or_else(|| line_at(&self.bytes, here()), |entry| entry.line), reason, None);
            }
        }
        problems.sort_by_key(|problem| problem.line);
        problems
    }

    /// Why the two generations read different values for a key, if they do.
    fn difference(&self, key: &str) -> Option<Message> {
        let value = self.entry(key).and_then(|entry| entry.value.as_ref());
        if value.is_some_and(|v| v.bytes.contains(&b'$')) {
            return Some(message!("{key} has a `$` in it, which compose v1 and v2 replace differently", key));
        }
        let raw = value.map(|v| &self.bytes[v.span.clone()]);
        if value.is_some_and(|v| v.quote.is_some()) && raw.is_some_and(|raw| raw.contains(&b'\\')) {
            return Some(message!("{key} has a backslash in quotes, which compose v1 and v2 read differently", key));
        }
        let theirs = v2::values(&String::from_utf8_lossy(&self.bytes)).ok()?;
        let differ = theirs.get(key) != self.get(key).as_ref();
        differ.then(|| message!("compose v1 and v2 read different values for {key} (a comment, a quote, a colon)", key))
    }

    /// Whether all other keys have the values they have in `before`.
    fn agrees(&self, before: &Dotenv, key: &str) -> bool {
        let others = |dotenv: &Dotenv| {
            let entries = dotenv.entries.iter().filter(|e| e.key != key.as_bytes());
            entries.map(|e| (e.key.clone(), e.value.clone().map(|v| v.bytes))).collect::<Vec<_>>()
        };
        others(self) == others(before)
    }

    /// Whether v2, if it read `before`, reads this with the same values for all other keys.
    fn agrees_in_v2(&self, before: &Dotenv, key: &str) -> bool {
        let others = |dotenv: &Dotenv| {
            let mut values = v2::values(&String::from_utf8_lossy(&dotenv.bytes)).ok()?;
            values.remove(key);
            Some(values)
        };
        others(before).is_none_or(|before| others(self) == Some(before))
    }

    fn uneditable(&self, key: &str) -> Error {
        let (place, hint) = match self.entry(key) {
            Some(entry) => {
                (message!("line {line}", line = entry.line), message!("write that line by hand as {key}=VALUE", key))
            }
            None => {
                (message!("the end of the file"), message!("close the quote that is open before the end of the file"))
            }
        };
        let reason = message!("{place} can't be edited so that compose v1 and v2 both read {key} from it", place, key);
        Error::input(reason).hint(hint)
    }

    fn spliced(&self, span: Range<usize>, with: &str) -> Vec<u8> {
        [&self.bytes[..span.start], with.as_bytes(), &self.bytes[span.end..]].concat()
    }

    /// The bytes with one more line. A file without a final line end gets none either: [`Dotenv::without`] relies on it.
    fn appended(&self, line: &str) -> Vec<u8> {
        let mut end: &[u8] = match self.bytes.iter().position(|b| *b == b'\n') {
            Some(at) if at > 0 && self.bytes[at - 1] == b'\r' => b"\r\n",
            _ => b"\n",
        };
        if self.bytes.is_empty() || self.bytes.ends_with(b"\n") {
            return [&self.bytes, line.as_bytes(), end].concat();
        }
        if self.bytes.ends_with(b"\r") {
            end = b"\r\n";
        }
        [&self.bytes, end, line.as_bytes()].concat()
    }

    fn without(&self, entry: &Assignment) -> Vec<u8> {
        let mut before = &self.bytes[..entry.span.start];
        if entry.end == entry.span.end {
            before = before.strip_suffix(b"\n").map_or(before, |b| b.strip_suffix(b"\r").unwrap_or(b));
        }
        [before, &self.bytes[entry.end..]].concat()
    }
}

fn line_at(bytes: &[u8], at: usize) -> usize {
    1 + bytes[..at].iter().filter(|b| **b == b'\n').count()
}

#[cfg(test)]
mod tests;
