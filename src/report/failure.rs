//! The document of a run that ended with an error.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, Outcome, SCHEMA, Text};
use crate::error::{Class, Error};
use crate::lang::Lang;
use crate::message::Message;

/// What `--json` prints of any command that ends with an error: instead of its own document, and with an `error` in it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FailureDocument {
    /// The version of this document.
    pub schema: u32,
    /// What went wrong.
    pub error: ErrorDocument,
    /// `fail`.
    pub outcome: Outcome,
}

/// An error, and the way out of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ErrorDocument {
    /// The exit code.
    pub exit: u8,
    /// What was being done, and why it failed.
    pub message: Text,
    /// What to type or do, one thing after the other.
    pub hints: Vec<Text>,
}

impl From<&Error> for FailureDocument {
    fn from(error: &Error) -> Self {
        let hints = error.hints().iter().cloned().map(Text).collect();
        FailureDocument::new(error.class(), Message::from(error), hints)
    }
}

impl FailureDocument {
    /// Of a command line that is none, in its parser's words.
    pub fn of_command_line(words: &str) -> Self {
        let message = words.trim().strip_prefix("error: ").unwrap_or(words);
        FailureDocument::new(Class::Input, Message::foreign(message), Vec::new())
    }

    fn new(class: Class, message: Message, hints: Vec<Text>) -> Self {
        let error = ErrorDocument { exit: class.exit_code(), message: Text(message), hints };
        FailureDocument { schema: SCHEMA, error, outcome: Outcome::Fail }
    }
}

impl Document for FailureDocument {
    /// People get the error itself, on stderr.
    fn text(&self, _lang: Lang) -> String {
        String::new()
    }
}
