//! Long texts in a journal, each stored once: whole, or as its difference from one before it. A peer list of a thousand
//! members is stored whole once; that of the next run takes a line.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::message;

/// Shorter texts stay in their step.
const LONG: usize = 512;
/// The key that stands for a text. No state has a field of this name.
const KEY: &str = "$text";
/// A new text is compared with this many of those before it.
const COMPARED: usize = 4;
/// Bytes that are compared at once.
const BLOCK: usize = 256;

/// So many bytes unfold from a journal at most: a few hundred changes to the longest list. A line of a journal that somebody
/// else has written, in a mounted tree, may stand for a megabyte.
const MOST_UNFOLDED: usize = 1 << 30;

/// The texts that a journal has so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Texts {
    known: Vec<(String, Arc<str>)>,
    /// As many bytes may still be read out of it.
    room: usize,
}

impl Default for Texts {
    fn default() -> Self {
        Texts { known: Vec::new(), room: MOST_UNFOLDED }
    }
}

/// A text, or what is different in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TextRecord {
    /// Of the whole text.
    sha256: String,
    /// The digest of the text that it begins and ends like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    like: Option<Likeness>,
    /// What stands between the two.
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Likeness {
    sha256: String,
    /// As many bytes at its beginning, and at its end.
    head: usize,
    tail: usize,
}

impl Texts {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    fn get(&self, sha256: &str) -> Option<&Arc<str>> {
        self.known.iter().rev().find(|(known, _)| known == sha256).map(|(_, text)| text)
    }

    fn unfold(&mut self, bytes: usize) -> Result<()> {
        let room = self.room.checked_sub(bytes);
        self.room = room.ok_or_else(|| Error::input(message!("longer texts than any run has stored")))?;
        Ok(())
    }

    /// Takes up a record.
    pub(super) fn read(&mut self, record: TextRecord) -> Result<()> {
        let TextRecord { sha256, like, text } = record;
        let common = like.as_ref().map_or(0, |like| like.head.saturating_add(like.tail));
        self.unfold(common.saturating_add(text.len()))?;
        let whole = match like {
            None => Some(text),
            Some(Likeness { sha256, head, tail }) => self.get(&sha256).and_then(|like| {
                let (head, rest) = (like.get(..head)?, like.get(head..)?);
                let tail = rest.get(rest.len().checked_sub(tail)?..)?;
                Some([head, &text, tail].concat())
            }),
        };
        match whole.filter(|whole| digest(whole) == sha256) {
            Some(whole) => {
                self.known.push((sha256, whole.into()));
                Ok(())
            }
            None => Err(Error::input(message!("a stored text is damaged"))),
        }
    }

    /// Puts the texts back into the states of a step.
    pub(super) fn fill_in(&mut self, step: &mut Value) -> Result<()> {
        let states = ["before", "after"];
        states.into_iter().try_for_each(|state| step.get_mut(state).map_or(Ok(()), |state| self.fill_in_state(state)))
    }

    fn fill_in_state(&mut self, state: &mut Value) -> Result<()> {
        let Value::Object(fields) = state else { return Ok(()) };
        let Some(Value::String(sha256)) = fields.get(KEY) else {
            return fields.values_mut().try_for_each(|field| self.fill_in_state(field));
        };
        let text = self.get(sha256).ok_or_else(|| Error::input(message!("a text that the journal doesn't have")))?;
        let text = Arc::clone(text);
        self.unfold(text.len())?;
        *state = Value::String(text.to_string());
        Ok(())
    }

    /// Puts a reference for each long text in the states of a step. The texts that are new.
    pub(super) fn take_out(&mut self, step: &mut Value) -> Vec<TextRecord> {
        let mut new = Vec::new();
        for state in ["before", "after"] {
            if let Some(state) = step.get_mut(state) {
                self.take_out_of_state(state, &mut new);
            }
        }
        new
    }

    fn take_out_of_state(&mut self, state: &mut Value, new: &mut Vec<TextRecord>) {
        match state {
            Value::String(text) if text.len() >= LONG => {
                let sha256 = digest(text);
                if self.get(&sha256).is_none() {
                    new.push(self.record(&sha256, text));
                    self.known.push((sha256.clone(), text.as_str().into()));
                }
                *state = Value::Object(Map::from_iter([(KEY.to_owned(), Value::String(sha256))]));
            }
            Value::Object(fields) => fields.values_mut().for_each(|field| self.take_out_of_state(field, new)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {}
        }
    }

    fn record(&self, sha256: &str, text: &str) -> TextRecord {
        let likes = self.known.iter().rev().take(COMPARED).map(|(sha256, like)| {
            let (head, tail) = common(like, text);
            Likeness { sha256: sha256.clone(), head, tail }
        });
        let like = likes.max_by_key(|like| like.head + like.tail).filter(|like| like.head + like.tail >= LONG / 2);
        let (head, tail) = like.as_ref().map_or((0, 0), |like| (like.head, like.tail));
        TextRecord { sha256: sha256.to_owned(), text: text[head..text.len() - tail].to_owned(), like }
    }
}

/// How many bytes two texts have in common at the beginning, and of the rest at the end: whole characters.
fn common(a: &str, b: &str) -> (usize, usize) {
    let equal_blocks = |(a, b): &(&[u8], &[u8])| a == b;
    let equal_bytes = |(a, b): &(&u8, &u8)| a == b;
    let (x, y) = (a.as_bytes(), b.as_bytes());
    let blocks = BLOCK * x.chunks_exact(BLOCK).zip(y.chunks_exact(BLOCK)).take_while(equal_blocks).count();
    let mut head = blocks + x[blocks..].iter().zip(&y[blocks..]).take_while(equal_bytes).count();
    while !a.is_char_boundary(head) {
        head -= 1;
    }
    let (x, y) = (&x[head..], &y[head..]);
    let blocks = BLOCK * x.rchunks_exact(BLOCK).zip(y.rchunks_exact(BLOCK)).take_while(equal_blocks).count();
    let (x, y) = (&x[..x.len() - blocks], &y[..y.len() - blocks]);
    let mut tail = blocks + x.iter().rev().zip(y.iter().rev()).take_while(equal_bytes).count();
    while !a.is_char_boundary(a.len() - tail) {
        tail -= 1;
    }
    (head, tail)
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a text is like, it comes back byte for byte.
        #[test]
        fn texts_come_back(parts in prop::collection::vec("[aé€😀\\n]{0,4}|.{0,600}", 1..12)) {
            let (mut written, mut read) = (Texts::default(), Texts::default());
            let long = "ä".repeat(LONG);
            for (at, part) in parts.iter().enumerate() {
                let text = match at % 3 { 0 => format!("{long}{part}"), 1 => format!("{part}{long}"), _ => format!("{long}{part}{long}") };
                let state = serde_json::json!({ "text": text });
                let step = serde_json::json!({ "before": state, "after": { "private": { "template": state } } });
                let mut on_disk = step.clone();
                for record in written.take_out(&mut on_disk) {
                    let line = serde_json::to_string(&record).unwrap();
                    read.read(serde_json::from_str(&line).unwrap()).unwrap();
                }
                prop_assert!(on_disk.to_string().len() < 400);
                read.fill_in(&mut on_disk).unwrap();
                prop_assert_eq!(on_disk, step);
            }
        }
    }

    #[test]
    fn lines_that_stand_for_much_text_are_refused_before_it_unfolds() {
        let long = "x".repeat(LONG);
        let mut texts = Texts { room: 10 * LONG, ..Texts::default() };
        texts.read(Texts::default().record(&digest(&long), &long)).unwrap();
        let like = |n: usize| {
            let text = format!("{long}{n}");
            let like = Some(Likeness { sha256: digest(&long), head: LONG, tail: 0 });
            TextRecord { sha256: digest(&text), like, text: n.to_string() }
        };
        assert_eq!((1..20).take_while(|n| texts.read(like(*n)).is_ok()).count(), 8);
        let step = || serde_json::json!({ "before": { KEY: digest(&long) }, "after": { KEY: digest(&long) } });
        let mut texts = Texts { room: 4 * LONG, ..texts };
        assert!(texts.fill_in(&mut step()).is_ok() && texts.fill_in(&mut step()).is_ok());
        assert!(texts.fill_in(&mut step()).unwrap_err().to_string().contains("longer texts"));
    }

    #[test]
    fn a_damaged_text_is_not_taken_for_one() {
        let record = Texts::default().record("00", &"x".repeat(LONG));
        assert!(Texts::default().read(record.clone()).is_err());
        let like = Some(Likeness { sha256: "11".into(), head: usize::MAX, tail: usize::MAX });
        assert!(Texts::default().read(TextRecord { like, ..record }).is_err());
    }
}
