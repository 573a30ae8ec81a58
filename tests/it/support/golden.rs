//! Recorded documents, exit codes and files in `tests/documents/`, which programs rely on. Keys, times and other values
//! that differ between runs are masked. Sentences are masked, too: they are for people and may be reworded. Fields,
//! enumerated words, ids, numbers and exit codes are compared.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::call::Ran;

/// When this variable is set, the recordings are written instead of compared.
pub const REWRITE: &str = "MITIGATOR_VPN_TEST_REWRITE";

/// Fields that hold sentences, or lists of them.
const SENTENCES: [&str; 12] = [
    "hints",
    "title",
    "detail",
    "hint",
    "differences",
    "next",
    "reason",
    "stopped",
    "task",
    "way_out",
    "description",
    "message",
];

/// Fields whose numbers differ between runs.
const VOLATILE: [&str; 6] = ["handshake_age", "received", "sent", "at", "clock_offset", "took"];

/// One file of `tests/documents/`, and the text to be compared with it.
pub struct Golden {
    file: &'static str,
    /// Texts that differ between runs, and their replacements.
    masks: Vec<(String, &'static str)>,
    keys_are_fixed: bool,
    left_out: &'static [&'static str],
    found: String,
}

impl Golden {
    pub fn of(file: &'static str) -> Self {
        Golden { file, masks: Vec::new(), keys_are_fixed: false, left_out: &[], found: String::new() }
    }

    /// For a scenario that makes no key: keys and digests are compared as well.
    pub fn with_fixed_keys(mut self) -> Self {
        self.keys_are_fixed = true;
        self
    }

    /// Replaces this text wherever it appears.
    pub fn mask(mut self, text: impl Into<String>, by: &'static str) -> Self {
        self.masks.push((text.into(), by));
        self
    }

    /// Leaves out the findings with these ids, which depend on the machine.
    pub fn without_findings(mut self, ids: &'static [&'static str]) -> Self {
        self.left_out = ids;
        self
    }

    /// Adds a command, its exit code, and the document or events it printed.
    pub fn note(&mut self, command: &str, ran: &Ran) {
        let code = ran.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        let mut text = format!("$ {command}\nexit code {code}\n");
        let out = ran.out();
        if let Ok(document) = serde_json::from_str::<Value>(&out) {
            text += &lines(&self.masked(document));
        } else {
            let events: Option<Vec<Value>> = out.lines().map(|line| serde_json::from_str(line).ok()).collect();
            let events = events.unwrap_or_else(|| panic!("neither a document nor events\n{ran}"));
            for event in events.into_iter().map(|event| self.masked(event)).filter(|event| event["event"] != "advance")
            {
                writeln!(text, "{event}").expect("a string takes all");
            }
        }
        self.text(&text);
    }

    /// The document with sentences and volatile numbers masked.
    fn masked(&self, mut document: Value) -> Value {
        leave_out(&mut document, self.left_out);
        mask(&mut document);
        document
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        let mut text = text.to_owned();
        for (volatile, by) in &self.masks {
            text = text.replace(volatile, by);
        }
        let text = if self.keys_are_fixed { text } else { without_keys(&text) };
        self.found += &(without_image_tag(&text) + "\n");
    }

    /// The text is the recorded one.
    #[track_caller]
    pub fn assert_as_recorded(self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents").join(self.file);
        if std::env::var_os(REWRITE).is_some() {
            std::fs::write(&path, self.found).expect("tests/documents can be written");
            return;
        }
        let recorded = std::fs::read_to_string(&path).unwrap_or_default();
        let differences: String = similar::TextDiff::from_lines(recorded.as_str(), self.found.as_str())
            .unified_diff()
            .context_radius(4)
            .header("recorded", "found")
            .to_string();
        assert!(
            differences.is_empty(),
            "tests/documents/{}:\n{differences}programs read this: if it was meant to change, say so in CHANGELOG.md, set {REWRITE}=1, \
             and read the difference",
            self.file
        );
    }
}

/// A line for each field, and for each value of a list.
fn lines(document: &Value) -> String {
    let mut text = String::new();
    for (name, value) in document.as_object().into_iter().flatten() {
        match value.as_array().filter(|values| !values.is_empty()) {
            Some(values) => {
                text += &format!("{name}:\n");
                text.extend(values.iter().map(|value| format!("  {value}\n")));
            }
            None => text += &format!("{name}: {value}\n"),
        }
    }
    text
}

fn leave_out(value: &mut Value, ids: &[&str]) {
    match value {
        Value::Array(values) => {
            values.retain(|value| !value["id"].as_str().is_some_and(|id| ids.contains(&id)));
            values.iter_mut().for_each(|value| leave_out(value, ids));
        }
        Value::Object(fields) => fields.values_mut().for_each(|value| leave_out(value, ids)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn mask(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(mask),
        Value::Object(fields) => {
            for (name, value) in fields {
                if SENTENCES.contains(&name.as_str()) {
                    mask_sentences(value);
                } else if VOLATILE.contains(&name.as_str()) && value.is_number() {
                    *value = "(a number)".into();
                } else {
                    mask(value);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// An empty string stays empty.
fn mask_sentences(value: &mut Value) {
    match value {
        Value::String(text) if !text.is_empty() => *value = "(words)".into(),
        Value::Array(values) => values.iter_mut().for_each(mask_sentences),
        Value::Object(_) => mask(value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Masks keys and digests: keys are generated in each run.
fn without_keys(text: &str) -> String {
    let mut rest = text;
    let mut masked = String::new();
    while let Some(at) = rest.find(is_of_a_key) {
        masked += &rest[..at];
        let word = &rest[at..];
        let end = word.find(|c| !is_of_a_key(c)).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        masked += match (word.len(), word.ends_with('=')) {
            (44, true) => "(a key)",
            (64, false) if word.bytes().all(|byte| byte.is_ascii_hexdigit()) => "(a digest)",
            _ => word,
        };
        rest = after;
    }
    masked + rest
}

/// Masks the image's tag, which is a hash of the executable.
fn without_image_tag(text: &str) -> String {
    let mut parts = text.split("mitigator-vpn-gateway:");
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let after = part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
        masked += &format!("mitigator-vpn-gateway:(a tag){after}");
    }
    masked
}

fn is_of_a_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')
}
