//! What the two files have in common: lines, comments, and how their problems are reported.
//!
//! A message about a line repeats nothing that could be a key, and names a setting only by a word that can't be one.

use std::fmt;
use std::ops::Range;

use crate::error::Error;
use crate::message::{Message, quoted};
use crate::{counted, message};

/// Problems beyond this number are counted, not listed: it is another kind of file then.
const MOST: usize = 50;

/// One thing wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineProblem {
    /// Line number, from 1.
    pub line: usize,
    /// The reason, as a fragment.
    pub reason: Message,
    /// The way out.
    pub hint: Message,
}

impl fmt::Display for LineProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        message!("line {line}: {reason}", line = self.line, reason = &self.reason).fmt(f)
    }
}

impl LineProblem {
    pub(crate) fn in_file(&self, file: &str) -> Message {
        message!("{file}: line {line}: {reason}", file, line = self.line, reason = &self.reason)
    }

    /// All problems of one file as one error: every line, every way out.
    pub(crate) fn error(file: &str, problems: &[LineProblem]) -> Error {
        let lines = problems.iter().map(|problem| problem.in_file(file)).collect();
        let mut hints: Vec<(&Message, Vec<String>)> = Vec::new();
        for LineProblem { line, hint, .. } in problems {
            match hints.iter_mut().find(|(known, _)| *known == hint) {
                Some((_, lines)) => lines.push(line.to_string()),
                None => hints.push((hint, vec![line.to_string()])),
            }
        }
        let error = Error::input(Message::joined(lines, "\n"));
        match &hints[..] {
            [(hint, _)] => error.hint((*hint).clone()),
            several => several.iter().fold(error, |error, (hint, lines)| {
                error.then(message!("line {line}: {reason}", line = lines.join(", "), reason = *hint))
            }),
        }
    }
}

/// Problems of one file while they are being collected.
pub(super) struct Problems<'f> {
    /// The file's name, for hints.
    pub file: &'f str,
    all: Vec<LineProblem>,
    more: usize,
}

impl<'f> Problems<'f> {
    pub(super) fn of(file: &'f str) -> Self {
        Problems { file, all: Vec::new(), more: 0 }
    }

    pub(super) fn add(&mut self, line: usize, reason: Message, hint: Message) {
        if self.all.len() < MOST {
            self.all.push(LineProblem { line, reason, hint });
        } else {
            self.more += 1;
        }
    }

    /// All of them in the order of the lines, if there are any.
    pub(super) fn none_or_all(mut self) -> Result<(), Vec<LineProblem>> {
        self.all.sort_by_key(|problem| problem.line);
        match self.all.last_mut() {
            None => return Ok(()),
            Some(last) if self.more > 0 => {
                last.reason = counted!(
                    "{reason} (and {count} more problem)" | "{reason} (and {count} more problems)",
                    count = self.more,
                    reason = &last.reason
                );
            }
            Some(_) => {}
        }
        Err(self.all)
    }

    /// The file's name as an argument of a shell command.
    pub(super) fn quoted_file(&self) -> String {
        quoted(self.file)
    }
}

/// One line without its end, its comment and the space around.
pub(super) struct Line<'t> {
    /// From 1.
    pub number: usize,
    /// The whole line, end included.
    pub span: Range<usize>,
    /// Without line end, comment and surrounding space.
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

/// The lines of a text. Problems of the text as such, its encoding for example, are added.
pub(super) fn lines<'t>(text: &'t str, problems: &mut Problems<'_>) -> Vec<Line<'t>> {
    let file = problems.quoted_file();
    if let Some(at) = text.find('\0') {
        let line = 1 + text[..at].matches('\n').count();
        let hint = message!("see what it is: {command}", command = format!("file {file}"));
        problems.add(line, message!("a NUL byte: this is not a text file"), hint);
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
            let reason = message!("a byte order mark: wg refuses the file");
            problems.add(1, reason, message!("save it as UTF-8 without BOM"));
            at += line.len() - cut.len();
            line = cut;
        }
        if line.contains(|c: char| c.is_control() && c != '\t') {
            let hint = message!("see it with: {command}", command = format!("cat -A {file}"));
            problems.add(number, message!("a control character"), hint);
        }
        let before = line.split('#').next().unwrap_or_default();
        at += before.len() - before.trim_start_matches(SPACE).len();
        lines.push(Line { number, span, content: before.trim_matches(SPACE), at, comment: before.len() < line.len() });
    }
    if let Some(number) = windows_line {
        // Not `sed -i`: it would replace the file, and a running gateway would keep the old one (FN-40).
        let command = format!("printf '%s\\n' \"$(tr -d '\\r' <{file})\" >{file}");
        let hint = message!("convert it in place: {command}", command);
        problems.add(number, message!("Windows line endings (CRLF)"), hint);
    }
    lines
}

/// All settings of `wg` and of wg-quick.
const SETTINGS: &[&str] = &[
    "PrivateKey",
    "ListenPort",
    "FwMark",
    "PublicKey",
    "PresharedKey",
    "AllowedIPs",
    "Endpoint",
    "PersistentKeepalive",
    "Address",
    "DNS",
    "MTU",
    "Table",
    "PreUp",
    "PostUp",
    "PreDown",
    "PostDown",
    "SaveConfig",
];

/// The reason for an unknown setting. It has the name only where that is one elsewhere: any other word may be the end of a key
/// that was broken over two lines.
pub(super) fn unknown_key(name: &str) -> Message {
    let word = SETTINGS.iter().any(|setting| setting.eq_ignore_ascii_case(name));
    if word { message!("unknown key {name}", name) } else { message!("an unknown key") }
}

/// Whether a piece of text has something in it that looks like a key.
pub(super) fn has_key(text: &str) -> bool {
    words(text).any(|word| word.len() > 40)
}

/// The runs of base64 characters in a text.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '+' && c != '/')
}
