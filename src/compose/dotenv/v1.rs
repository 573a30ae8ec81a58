//! How compose v1 reads a `.env`: python-dotenv's grammar, with the position of every part.
//!
//! Edits follow this grammar: it has statements that span lines, and it skips what it can't read instead of refusing the
//! file. It works on bytes, because a file that isn't UTF-8 throughout has to be edited as well.

use std::ops::Range;

/// One `KEY=value` or bare `KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub key: Vec<u8>,
    pub line: usize,
    /// Whole lines without the end of the last one.
    pub span: Range<usize>,
    /// The end of `span` and of the line end after it.
    pub end: usize,
    /// `None` for a bare `KEY`.
    pub value: Option<Value>,
    /// Where the key ends.
    pub key_end: usize,
}

/// The value of an assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    /// As it stands in the file, quotes included.
    pub span: Range<usize>,
    /// Without quotes and escapes.
    pub bytes: Vec<u8>,
    /// The quote it stands in.
    pub quote: Option<u8>,
}

/// All assignments, and the lines of the statements that can't be read.
pub(crate) fn entries(bytes: &[u8]) -> (Vec<Assignment>, Vec<usize>) {
    let mut reader = Scanner { bytes, at: if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }, seen: 0, line: 1 };
    let (mut entries, mut malformed) = (Vec::new(), Vec::new());
    loop {
        let mut from = reader.at;
        while let Some(len) = reader.newline().or_else(|| reader.space()) {
            reader.at += len;
            // White space before a statement belongs to its line.
            if reader.bytes[reader.at - 1] == b'\n' || reader.bytes[reader.at - 1] == b'\r' {
                from = reader.at;
            }
        }
        if reader.at == bytes.len() {
            return (entries, malformed);
        }
        let line = reader.line_here();
        match reader.statement() {
            Ok(Some(mut entry)) => {
                (entry.line, entry.span.start) = (line, from);
                entries.push(entry);
            }
            Ok(None) => {}
            Err(Malformed) => {
                malformed.push(line);
                reader.rest_of_line();
            }
        }
    }
}

struct Malformed;

struct Scanner<'b> {
    bytes: &'b [u8],
    at: usize,
    /// Up to where line ends have been counted.
    seen: usize,
    line: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn line_here(&mut self) -> usize {
        while self.seen < self.at {
            self.line += usize::from(newline_at(self.bytes, self.seen).is_some());
            self.seen += newline_at(self.bytes, self.seen).unwrap_or(1);
        }
        self.line
    }

    /// Length of the line end here.
    fn newline(&self) -> Option<usize> {
        newline_at(self.bytes, self.at)
    }

    /// Length of the white space character here.
    fn space(&self) -> Option<usize> {
        let next = &self.bytes[self.at..self.bytes.len().min(self.at + 4)];
        let c = next.utf8_chunks().next()?.valid().chars().next()?;
        let space = c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
        (space && c != '\n' && c != '\r').then(|| c.len_utf8())
    }

    fn spaces(&mut self) {
        while let Some(len) = self.space() {
            self.at += len;
        }
    }

    fn rest_of_line(&mut self) {
        while self.at < self.bytes.len() && self.newline().is_none() {
            self.at += 1;
        }
        self.at += self.newline().unwrap_or(0);
    }

    /// Reads one statement; `None` for a comment.
    fn statement(&mut self) -> Result<Option<Assignment>, Malformed> {
        let start = self.at;
        if self.bytes[self.at..].starts_with(b"export") {
            self.at += 6;
            match self.space() {
                Some(_) => self.spaces(),
                None => self.at = start,
            }
        }
        let key = self.key()?;
        let key_end = self.at;
        self.spaces();
        let mut value = None;
        if self.peek() == Some(b'=') {
            self.at += 1;
            self.spaces();
            value = Some(self.value()?);
        }
        let mut end = value.as_ref().map_or(key_end, |v| v.span.end);
        self.spaces();
        if self.peek() == Some(b'#') {
            while self.at < self.bytes.len() && self.newline().is_none() {
                self.at += 1;
            }
            end = self.at;
        }
        let line_end = self.at;
        match self.newline() {
            Some(len) => self.at += len,
            None if self.at == self.bytes.len() => {}
            None => return Err(Malformed),
        }
        let span = start..end.max(line_end);
        Ok(key.map(|key| Assignment { key, line: 0, span, end: self.at, value, key_end }))
    }

    fn key(&mut self) -> Result<Option<Vec<u8>>, Malformed> {
        if self.peek() == Some(b'#') {
            return Ok(None);
        }
        let quoted = self.peek() == Some(b'\'');
        self.at += usize::from(quoted);
        let start = self.at;
        while let Some(byte) = self.peek() {
            let over = if quoted {
                byte == b'\''
            } else {
                byte == b'=' || byte == b'#' || self.newline().is_some() || self.space().is_some()
            };
            if over {
                break;
            }
            self.at += 1;
        }
        if start == self.at || (quoted && self.peek().is_none()) {
            self.at = start - usize::from(quoted);
            return Err(Malformed);
        }
        let key = self.bytes[start..self.at].to_vec();
        self.at += usize::from(quoted);
        Ok(Some(key))
    }

    fn value(&mut self) -> Result<Value, Malformed> {
        let start = self.at;
        if let Some(quote @ (b'\'' | b'"')) = self.peek() {
            let end = closing(&self.bytes[start + 1..], quote).map(|len| start + 1 + len).ok_or(Malformed)?;
            self.at = end + 1;
            return Ok(Value {
                span: start..end + 1,
                bytes: unescaped(&self.bytes[start + 1..end], quote),
                quote: Some(quote),
            });
        }
        // Without quotes: up to white space and a `#`, or to the end of the line.
        let mut end = start;
        let mut blank = false;
        while self.at < self.bytes.len() && self.newline().is_none() && !(blank && self.peek() == Some(b'#')) {
            match self.space() {
                Some(len) => {
                    blank = true;
                    self.at += len;
                }
                None => {
                    blank = false;
                    self.at += 1;
                    end = self.at;
                }
            }
        }
        self.at = end;
        Ok(Value { span: start..end, bytes: self.bytes[start..end].to_vec(), quote: None })
    }
}

fn newline_at(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at..)? {
        [b'\r', b'\n', ..] => Some(2),
        [b'\r' | b'\n', ..] => Some(1),
        _ => None,
    }
}

/// Where the closing quote is: the first one without a backslash before it, or else the last one with one.
fn closing(bytes: &[u8], quote: u8) -> Option<usize> {
    let mut fallback = None;
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'\\' && bytes.get(at + 1) == Some(&quote) {
            fallback = Some(at + 1);
            at += 2;
        } else if bytes[at] == quote {
            return Some(at);
        } else {
            at += 1;
        }
    }
    fallback
}

fn unescaped(bytes: &[u8], quote: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        let escape = match (byte, rest.peek(), quote) {
            (b'\\', Some(c @ (b'\\' | b'\'')), _) | (b'\\', Some(c @ b'"'), b'"') => Some(*c),
            (b'\\', Some(c), b'"') => b"abfnrtv".iter().position(|e| e == c).map(|i| b"\x07\x08\x0c\n\r\t\x0b"[i]),
            _ => None,
        };
        match escape {
            Some(c) => {
                rest.next();
                out.push(c);
            }
            // Line ends have been made uniform before the quotes were looked for.
            None if byte == b'\r' => {
                out.push(b'\n');
                rest.next_if_eq(&b'\n');
            }
            None => out.push(byte),
        }
    }
    out
}
