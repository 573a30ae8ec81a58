//! The name of a run: what its changes are taken back by, whatever other runs did before and since.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::message::Argument;
use crate::wireguard::PrivateKey;

/// A run's name: 16 hexadecimal digits that nobody guesses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RunId(String);

impl RunId {
    pub(crate) fn fresh() -> RunId {
        let random = PrivateKey::generate().public();
        RunId(random.as_bytes().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&RunId> for Argument {
    fn from(id: &RunId) -> Self {
        id.to_string().into()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl TryFrom<String> for RunId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_name = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_name { Ok(RunId(text)) } else { Err("a run's name has 16 hexadecimal digits".to_owned()) }
    }
}

/// What the journal notes when a run starts.
#[derive(Clone, Debug)]
pub struct RunStart {
    /// Its name.
    pub id: RunId,
    /// Checks that it was told to ignore.
    pub ignored: Vec<String>,
}

impl RunStart {
    /// A new run that ignores these checks.
    pub fn ignoring(checks: &[String]) -> RunStart {
        RunStart { id: RunId::fresh(), ignored: checks.to_vec() }
    }
}
