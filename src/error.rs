//! One error type for the whole program: what was being done, why it failed, what to type next.
//!
//! The class decides the exit code and nothing else; callers that must tell failures apart match on values
//! (an `Option`, an enum of states), not on errors.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::message;
use crate::message::{Argument, Message};

/// A result whose error already knows its exit code.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it was; each kind is one exit code (see the `EXIT STATUS` section of the man page).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Something nobody foresaw: exit code 1.
    Unexpected,
    /// Bad arguments or a bad input file, nothing changed: exit code 2.
    Input,
    /// Preflight, or a check of a file, found a failure, nothing changed: exit code 3.
    Refused,
    /// Stopped in order, a reboot is needed: exit code 4.
    Reboot,
    /// Applied, but the proof failed; or `status` found a difference: exit code 5.
    Unproven,
    /// A step failed half way; the journal knows what was done: exit code 6.
    Step,
    /// Another run holds the lock: exit code 7.
    Locked,
}

impl Class {
    /// The process exit code of this class.
    pub fn exit_code(self) -> u8 {
        match self {
            Class::Unexpected => 1,
            Class::Input => 2,
            Class::Refused => 3,
            Class::Reboot => 4,
            Class::Unproven => 5,
            Class::Step => 6,
            Class::Locked => 7,
        }
    }
}

impl From<Class> for std::process::ExitCode {
    fn from(class: Class) -> Self {
        class.exit_code().into()
    }
}

/// A failure with its way out. Messages are lower-case fragments; hints are commands or instructions.
#[derive(Debug)]
pub struct Error {
    class: Class,
    message: Message,
    /// One a line.
    hints: Vec<Message>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure of the given class.
    pub fn new(class: Class, message: impl Into<Message>) -> Self {
        Error { class, message: message.into(), hints: Vec::new(), source: None }
    }

    /// Bad input: exit code 2.
    pub fn input(message: impl Into<Message>) -> Self {
        Error::new(Class::Input, message)
    }

    /// An unforeseen failure: exit code 1.
    pub fn unexpected(message: impl Into<Message>) -> Self {
        Error::new(Class::Unexpected, message)
    }

    /// The same failure under another class, for a caller that knows better what it means.
    pub fn with_class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// What the reader can type or do about it. The innermost hint wins: it knows most.
    pub fn hint(mut self, hint: impl Into<Message>) -> Self {
        if self.hints.is_empty() {
            self.hints.push(hint.into());
        }
        self
    }

    /// What to do after that, a line of its own.
    pub fn then(mut self, hint: impl Into<Message>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The failure class, and so the exit code.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The way out, if one is known: what to type or do, one thing after the other.
    pub fn hints(&self) -> &[Message] {
        &self.hints
    }

    /// The way out in English, one hint a line.
    pub fn way_out(&self) -> Option<String> {
        (!self.hints.is_empty()).then(|| self.hints.iter().map(Message::to_string).collect::<Vec<_>>().join("\n"))
    }
}

impl fmt::Display for Error {
    /// The whole chain on one line, outermost first, joined by colons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Message::from(self).fmt(f)
    }
}

/// The whole chain, outermost first.
impl From<&Error> for Message {
    fn from(error: &Error) -> Self {
        let Some(source) = &error.source else { return error.message.clone() };
        let cause = match source.downcast_ref::<Error>() {
            Some(ours) => Message::from(ours),
            None => Message::foreign(whole_chain(source.as_ref())),
        };
        message!("{context}: {cause}", context = &error.message, cause)
    }
}

impl From<&Error> for Argument {
    fn from(error: &Error) -> Self {
        Argument::Message(error.into())
    }
}

fn whole_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
}

/// Says what was being done when something failed.
pub trait Context<T> {
    /// Puts `what` in front of the error's chain; class and hint of an inner [`Error`] stay.
    fn context(self, what: impl Into<Message>) -> Result<T>;
    /// As [`Context::context`], built only when it is needed.
    fn with_context<S: Into<Message>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: std::error::Error + Send + Sync + 'static> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Into<Message>) -> Result<T> {
        self.with_context(|| what)
    }

    fn with_context<S: Into<Message>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| {
            let source: Box<dyn std::error::Error + Send + Sync> = Box::new(source);
            let (class, hints) = match source.downcast_ref::<Error>() {
                Some(inner) => (inner.class, inner.hints.clone()),
                None => (Class::Unexpected, Vec::new()),
            };
            Error { class, message: what().into(), hints, source: Some(source) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_keeps_class_and_hint_and_prints_the_chain_once() {
        let inner: Result<()> = Err(Error::input(message!("port 0")).hint(message!("use 1 to 65535")));
        let error = inner.context(message!("line 3")).context(message!("vpn-public.conf")).unwrap_err();
        assert_eq!(error.to_string(), "vpn-public.conf: line 3: port 0");
        assert_eq!(error.class(), Class::Input);
        assert_eq!(error.way_out().as_deref(), Some("use 1 to 65535"));
    }

    #[test]
    fn what_to_do_next_comes_after_the_way_out() {
        let error = || Error::unexpected(message!("no"));
        assert_eq!(
            error().hint(message!("mend it")).then(message!("go on")).way_out().as_deref(),
            Some("mend it\ngo on")
        );
        assert_eq!(error().then(message!("go on")).way_out().as_deref(), Some("go on"));
    }

    #[test]
    fn foreign_errors_are_unexpected_and_keep_their_words() {
        let error = std::fs::read("/nonexistent/file").context(message!("reading")).unwrap_err();
        assert_eq!(error.class().exit_code(), 1);
        assert!(error.to_string().starts_with("reading: No such file"), "{error}");
    }
}
