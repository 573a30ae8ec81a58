//! The write-ahead journal: every change is on disk before it is made.
//!
//! `/var/lib/mitigator-vpn/journal.ndjson` has one JSON record a line, each fsynced before the step it announces. It is the
//! receipt as well: `undo` takes back what this file says was begun, newest first. A record without its newline was cut off
//! by a crash, so its step never started.
//!
//! It stays small. A long text is stored once, as its difference from an earlier one ([`texts`]), and what many runs have
//! done to a resource is merged into one change ([`compaction`]).

mod compaction;
mod record;
mod run;
mod texts;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use self::record::{Record, RunRecord};
pub use self::run::{RunId, RunStart};
use self::texts::Texts;
use crate::error::{Context, Result};
use crate::host::{Appending, Host, Mode};
use crate::message;
use crate::message::Message;
use crate::resource::Step;

pub(crate) use crate::host::STATE_DIR;

const JOURNAL: &str = "/var/lib/mitigator-vpn/journal.ndjson";
/// Compaction keeps it far below this.
const MOST_BYTES: u64 = 64 << 20;

/// The format of the records. Older ones stay readable. 2: texts are stored beside the steps.
const FORMAT: u32 = 2;

/// A change that was begun and not closed by an undo.
#[derive(Clone, Debug, PartialEq)]
pub struct JournaledChange {
    /// Its number in the journal.
    pub number: u64,
    /// The run it belongs to; `None` for one that stands for several runs, or was noted before runs had names.
    pub run: Option<RunId>,
    /// What was changed, and how.
    pub step: Step,
    /// Whether it was finished. An unfinished change may be torn.
    pub done: bool,
}

/// What the journal says, oldest change first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Receipt {
    /// The open changes.
    pub changes: Vec<JournaledChange>,
    /// When the last run started, in seconds since 1970.
    pub last_run: Option<u64>,
    /// Checks that any of the runs was told to ignore.
    pub ignored: Vec<String>,
    runs: Vec<RunRecord>,
    texts: Texts,
    next_step: u64,
    whole: u64,
}

impl Receipt {
    /// The files that were written, or begun to be.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.changes.iter().filter_map(|change| change.step.path())
    }

    /// Whether changes of this run may have become part of others, so that they can't be taken back alone.
    pub(crate) fn has_merged(&self, run: &RunId) -> bool {
        match self.runs.iter().find(|known| known.id.as_ref() == Some(run)) {
            Some(known) => known.merged,
            None => self.runs.len() >= compaction::MOST_RUNS,
        }
    }

    /// Reads the journal; without one, an empty receipt. One of a newer program is refused.
    pub fn load(host: &Host) -> Result<Receipt> {
        let text = host.read_text_up_to(Path::new(JOURNAL), MOST_BYTES)?.unwrap_or_default();
        Receipt::parse(&text).with_context(|| Message::foreign(host.display(Path::new(JOURNAL)))).map_err(|error| {
            // A newer program's journal has a way out of its own.
            if error.way_out().is_some() {
                return error;
            }
            let path = host.display(Path::new(JOURNAL));
            let command = format!("mv {path} {path}.damaged");
            error.hint(message!("undo can't trust it; put it aside: {command}", command))
        })
    }

    pub(crate) fn parse(text: &str) -> Result<Receipt> {
        let mut receipt = Receipt::default();
        // A crash may have left part of a record behind the last newline.
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        let text = &text[..whole];
        receipt.whole = whole as u64;
        record::refuse_newer(text)?;
        for (number, line) in text.lines().enumerate() {
            let taken = Record::read(line, &mut receipt.texts).and_then(|record| receipt.take(record));
            taken.with_context(|| message!("line {line}", line = number + 1))?;
        }
        Ok(receipt)
    }

    fn take(&mut self, record: Record) -> Result<()> {
        match record {
            Record::Run(run) => {
                self.last_run = Some(run.at);
                self.ignored.extend(run.ignored.iter().cloned());
                self.runs.push(run);
            }
            Record::Text(text) => self.texts.read(text)?,
            Record::Begin { step, run, change } => {
                self.next_step = self.next_step.max(step + 1);
                self.changes.push(JournaledChange { number: step, run, step: change, done: false });
            }
            Record::Done { step } => {
                if let Some(change) = self.changes.iter_mut().find(|change| change.number == step) {
                    change.done = true;
                }
            }
            Record::Closed { step } => self.changes.retain(|change| change.number != step),
        }
        Ok(())
    }
}

/// The journal, open for writing.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Appending,
    run: Option<RunId>,
    texts: Texts,
    next_step: u64,
}

impl Journal {
    /// Opens it behind its last whole record. With `run` it notes the start of this run.
    pub(crate) fn open(host: &mut Host, run: Option<&RunStart>) -> Result<Journal> {
        let mut receipt = Receipt::load(host)?;
        for dir in [Path::new("/var"), Path::new("/var/lib"), Path::new(STATE_DIR)] {
            host.create_dir(dir, Mode::DIRECTORY)?;
        }
        host.recover(Path::new(JOURNAL))?;
        if let Some(shorter) = run.map_or(Ok(None), |_| compaction::compacted(&receipt))? {
            // Written beside and renamed over: a crash leaves the one or the other, and they say the same.
            host.write(Path::new(JOURNAL), shorter.as_bytes(), Mode::SECRET)?;
            receipt = Receipt { next_step: receipt.next_step, ..Receipt::parse(&shorter)? };
        }
        let mut file = host.append(Path::new(JOURNAL), Mode::SECRET)?;
        // What is behind the last whole record was torn by a crash.
        file.cut(receipt.whole)?;
        let id = run.map(|run| run.id.clone());
        let mut journal = Journal { file, run: id, texts: receipt.texts, next_step: receipt.next_step };
        if let Some(RunStart { id, ignored }) = run {
            let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let (id, ignored) = (Some(id.clone()), ignored.clone());
            let version = env!("CARGO_PKG_VERSION").to_owned();
            journal.append(&Record::Run(RunRecord { format: FORMAT, version, at, ignored, id, merged: false }))?;
        }
        Ok(journal)
    }

    /// Announces a step. It may start when this has returned.
    pub(crate) fn begin(&mut self, change: &Step) -> Result<u64> {
        let step = self.next_step;
        self.next_step += 1;
        self.append(&Record::Begin { step, run: self.run.clone(), change: change.clone() })?;
        Ok(step)
    }

    /// Notes that a step is finished and observed.
    pub(crate) fn done(&mut self, step: u64) -> Result<()> {
        self.append(&Record::Done { step })
    }

    /// Notes that undo has dealt with a step.
    pub(crate) fn close(&mut self, step: u64) -> Result<()> {
        self.append(&Record::Closed { step })
    }

    /// Removes the journal. Everything in it must be closed.
    pub(crate) fn remove(self, host: &mut Host) -> Result<()> {
        drop(self.file);
        Journal::clear(host)
    }

    /// Removes the remains of a run that was killed before its first record was whole.
    pub(crate) fn clear(host: &mut Host) -> Result<()> {
        host.recover(Path::new(JOURNAL))?;
        host.remove(Path::new(JOURNAL))?;
        host.forget_announcements()?;
        host.remove_dir(Path::new(STATE_DIR)).map(drop)
    }

    fn append(&mut self, record: &Record) -> Result<()> {
        let lines = record.lines(&mut self.texts)?;
        self.file.add(lines.as_bytes())
    }
}

#[cfg(test)]
mod tests;
