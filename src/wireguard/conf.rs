//! What the two files have in common: lines, comments, and how their problems are told.
//!
//! Nothing said about a line repeats anything that could be a key, nor does it name a setting by a word that could be
//! one.

use std::fmt;
use std::ops::Range;

use schemars::JsonSchema;
use serde::Serialize;

use crate::error::Error;

/// More problems than this are counted, not listed: it isn't such a file at all then.
const ENOUGH: usize = 50;

/// One thing wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// Line number, from 1.
    pub line: usize,
    /// The reason, as a fragment.
    pub reason: String,
    /// The way out; `{file}` in it stands for the file's name.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl Problem {
    /// The way out, with the file's name in it.
    pub fn hint_for(&self, file: &str) -> String {
        self.hint.replace("{file}", &quoted(file))
    }

    /// All problems of one file as one error: every line, every way out.
    pub fn error(file: &str, problems: &[Problem]) -> Error {
        let lines: Vec<String> = problems.iter().map(|p| format!("{file}: {p}")).collect();
        let mut hints: Vec<(String, Vec<String>)> = Vec::new();
        for problem in problems {
            let hint = problem.hint_for(file);
            match hints.iter_mut().find(|(known, _)| *known == hint) {
                Some((_, lines)) => lines.push(problem.line.to_string()),
                None => hints.push((hint, vec![problem.line.to_string()])),
            }
        }
        let hint = match &hints[..] {
            [(hint, _)] => hint.clone(),
            _ => {
                let by_line = hints.iter().map(|(hint, lines)| format!("line {}: {hint}", lines.join(", ")));
                by_line.collect::<Vec<_>>().join("\n")
            }
        };
        Error::input(lines.join("\n")).hint(hint)
    }
}

/// Problems while they are being collected.
#[derive(Default)]
pub(super) struct Problems {
    all: Vec<Problem>,
    more: usize,
}

impl Problems {
    pub(super) fn add(&mut self, line: usize, reason: impl Into<String>, hint: impl Into<String>) {
        if self.all.len() < ENOUGH {
            self.all.push(Problem { line, reason: reason.into(), hint: hint.into() });
        } else {
            self.more += 1;
        }
    }

    /// All of them in the order of the lines, if there are any.
    pub(super) fn none_or_all(mut self) -> Result<(), Vec<Problem>> {
        self.all.sort_by_key(|p| p.line);
        match self.all.last_mut() {
            None => return Ok(()),
            Some(last) if self.more > 0 => last.reason.push_str(&format!(" (and {} more problems)", self.more)),
            Some(_) => {}
        }
        Err(self.all)
    }
}

/// One line without its end, its comment and the space around.
pub(super) struct Line<'t> {
    /// From 1.
    pub number: usize,
    /// The whole line, end included.
    pub span: Range<usize>,
    /// What is left.
    pub content: &'t str,
    /// Where `content` begins.
    at: usize,
    /// Whether there is a comment on it.
    pub comment: bool,
}

impl Line<'_> {
    /// The two sides of `Name = value`.
    pub(super) fn setting(&self) -> Option<(&str, &str)> {
        let (name, value) = self.content.split_once('=')?;
        Some((name.trim_end_matches(SPACE), value.trim_start_matches(SPACE)))
    }

    /// Where the value stands in the text.
    pub(super) fn value_span(&self, value: &str) -> Range<usize> {
        let end = self.at + self.content.len();
        end - value.len()..end
    }
}

const SPACE: [char; 2] = [' ', '\t'];

/// The lines of a text, and what is wrong with it as a text.
pub(super) fn lines<'t>(text: &'t str, problems: &mut Problems) -> Vec<Line<'t>> {
    if let Some(at) = text.find('\0') {
        let line = 1 + text[..at].matches('\n').count();
        problems.add(line, "a NUL byte: this is not a text file", "see what it is: file {file}");
        return Vec::new();
    }
    let mut start = 0;
    let mut windows_line = None;
    let mut lines = Vec::new();
    for (index, whole) in text.split_inclusive('\n').enumerate() {
        let (number, span) = (index + 1, start..start + whole.len());
        start = span.end;
        let mut line = whole.strip_suffix('\n').unwrap_or(whole);
        if let Some(cut) = line.strip_suffix('\r') {
            windows_line.get_or_insert(number);
            line = cut;
        }
        let mut at = span.start;
        if number == 1
            && let Some(cut) = line.strip_prefix('\u{feff}')
        {
            problems.add(1, "a byte order mark: wg refuses the file", "save it as UTF-8 without BOM");
            at += line.len() - cut.len();
            line = cut;
        }
        if line.contains(|c: char| c.is_control() && c != '\t') {
            problems.add(number, "a control character", "see it with: cat -A {file}");
        }
        let before = line.split('#').next().unwrap_or_default();
        at += before.len() - before.trim_start_matches(SPACE).len();
        lines.push(Line { number, span, content: before.trim_matches(SPACE), at, comment: before.len() < line.len() });
    }
    if let Some(number) = windows_line {
        // Not `sed -i`: it would replace the file, and a running gateway would keep the old one (FN-40).
        let hint = "convert it in place: printf '%s\\n' \"$(tr -d '\\r' <{file})\" >{file}";
        problems.add(number, "Windows line endings (CRLF)", hint);
    }
    lines
}

/// How an unknown setting is told: by its name where that is a word and not, say, a key without its setting.
pub(super) fn unknown_key(name: &str) -> String {
    let word = !name.is_empty() && name.len() <= 24 && name.bytes().all(|b| b.is_ascii_alphabetic());
    if word { format!("unknown key {name}") } else { "an unknown key".into() }
}

/// Whether a piece of text has something in it that looks like a key.
pub(super) fn has_key(text: &str) -> bool {
    words(text).any(|word| word.len() > 40)
}

/// The runs of base64 characters in a text.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '+' && c != '/')
}

/// A file's name as one would type it into a shell.
fn quoted(file: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    if file.bytes().all(plain) { file.to_owned() } else { format!("'{}'", file.replace('\'', r"'\''")) }
}
