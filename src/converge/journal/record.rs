//! The records, as they are written and read.

use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::texts::{TextRecord, Texts};
use super::{FORMAT, RunId};
use crate::error::{Context, Error, Result};
use crate::message;
use crate::resource::Step;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Record {
    /// A run started.
    Run(RunRecord),
    /// A text that steps refer to.
    Text(TextRecord),
    /// A step is about to change this resource.
    Begin {
        step: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<RunId>,
        #[serde(flatten)]
        change: Step,
    },
    /// The step is done, and observing its resource has shown so.
    Done { step: u64 },
    /// Undo has taken the step back, or found its resource changed by somebody else since.
    Closed { step: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunRecord {
    pub(super) format: u32,
    pub(super) version: String,
    pub(super) at: u64,
    pub(super) ignored: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<RunId>,
    /// Compaction has made changes of this run part of others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) merged: bool,
}

impl Record {
    /// One line, with the texts before it in the journal.
    pub(super) fn read(line: &str, texts: &mut Texts) -> Result<Record> {
        let not_one = |error: serde_json::Error| {
            Error::input(message!("not a journal record: {error}", error = error.to_string()))
        };
        let mut value: Value = serde_json::from_str(line).map_err(not_one)?;
        if let Some(step) = value.get_mut("begin") {
            texts.fill_in(step)?;
        }
        let record: Record = serde_json::from_value(value).map_err(not_one)?;
        if let Record::Begin { change, .. } = &record {
            change.paths().into_iter().try_for_each(refuse_odd)?;
        }
        Ok(record)
    }

    /// Its line, behind those of the texts that it needs and `texts` doesn't have yet.
    pub(super) fn lines(&self, texts: &mut Texts) -> Result<String> {
        let what = || message!("a journal record");
        let mut lines = String::new();
        if let Record::Begin { .. } = self {
            let mut value = serde_json::to_value(self).with_context(what)?;
            let new = value.get_mut("begin").map(|step| texts.take_out(step)).unwrap_or_default();
            for text in new {
                lines += &(serde_json::to_string(&Record::Text(text)).with_context(what)? + "\n");
            }
            lines += &(value.to_string() + "\n");
        } else {
            lines += &(serde_json::to_string(self).with_context(what)? + "\n");
        }
        Ok(lines)
    }
}

/// A path that this program has written is absolute and has no `..` in it.
fn refuse_odd(path: &Path) -> Result<()> {
    let odd = !path.is_absolute() || path.components().any(|part| part == Component::ParentDir);
    if odd {
        Err(Error::input(message!("a path that no run has noted: {path}", path = path.display())))
    } else {
        Ok(())
    }
}

/// A newer program's records may mean anything. They are looked for before the first one is read.
pub(super) fn refuse_newer(text: &str) -> Result<()> {
    #[derive(Deserialize)]
    struct Any {
        run: Header,
    }
    #[derive(Deserialize)]
    struct Header {
        format: u32,
        #[serde(default)]
        version: String,
    }
    let runs = text.lines().filter(|line| line.starts_with("{\"run\":"));
    let headers = runs.filter_map(|line| serde_json::from_str::<Any>(line).ok());
    // The newest of several reads what the others have written.
    match headers.map(|any| any.run).filter(|header| header.format > FORMAT).max_by_key(|header| header.format) {
        None => Ok(()),
        Some(Header { version, .. }) => {
            let own = env!("CARGO_PKG_VERSION");
            let error =
                message!("written by a newer mitigator-vpn ({version}) than this one ({own})", version = &version, own);
            let hint = message!("use mitigator-vpn {version} or a newer one; this one has changed nothing", version);
            Err(Error::input(error).hint(hint))
        }
    }
}
