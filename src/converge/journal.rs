//! The write-ahead journal: what was about to change is on disk before it changes.
//!
//! One JSON record a line in `/var/lib/mitigator-vpn/journal.ndjson`, each fsynced before the step it announces. It
//! is the receipt as well: what `undo` takes back is what this file says was begun, newest first. A record without its
//! newline was cut off by a crash, so what it announced never started.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::host::{Appending, Host, Mode};
use crate::resource::{Resource, State};

/// Where this program keeps what it must remember.
pub const STATE_DIR: &str = "/var/lib/mitigator-vpn";
const JOURNAL: &str = "/var/lib/mitigator-vpn/journal.ndjson";

/// The format of the records; older ones stay readable.
const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Record {
    /// A run started.
    Run { format: u32, version: String, at: u64, ignored: Vec<String> },
    /// A step is about to change this resource.
    Begin { step: u64, resource: Resource, before: State, after: State },
    /// It did, and observing it shows so.
    Done { step: u64 },
    /// Undo has dealt with it: taken back, or found changed by somebody else since.
    Closed { step: u64 },
}

/// A change that was begun and not closed by an undo.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its number in the journal.
    pub step: u64,
    /// What was changed.
    pub resource: Resource,
    /// How it stood before.
    pub before: State,
    /// How it was to stand.
    pub after: State,
    /// Whether the step finished; one that didn't may be torn.
    pub done: bool,
}

/// What the journal says, oldest change first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Receipt {
    /// The open changes.
    pub changes: Vec<Change>,
    /// When the last run started, in seconds since 1970.
    pub last_run: Option<u64>,
    /// Checks that any of the runs was told to ignore.
    pub ignored: Vec<String>,
    next_step: u64,
    whole: u64,
}

impl Receipt {
    /// The number that the next step will have.
    pub fn next_step(&self) -> u64 {
        self.next_step
    }

    /// The files that were written, or begun to be.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.changes.iter().filter_map(|change| change.resource.path())
    }

    /// Reads the journal; without one, an empty receipt.
    pub fn load(host: &Host) -> Result<Receipt> {
        let text = host.read_text(Path::new(JOURNAL))?.unwrap_or_default();
        Receipt::parse(&text)
            .with_context(|| host.display(Path::new(JOURNAL)))
            .map_err(|e| e.hint(format!("undo can't trust it; put it aside: mv {JOURNAL} {JOURNAL}.damaged")))
    }

    fn parse(text: &str) -> Result<Receipt> {
        let mut receipt = Receipt::default();
        // Behind the last newline there is only what a crash cut off.
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        receipt.whole = whole as u64;
        for (number, line) in text[..whole].lines().enumerate() {
            let record: Record = serde_json::from_str(line)
                .map_err(|error| Error::input(format!("line {}: not a journal record: {error}", number + 1)))?;
            match record {
                Record::Run { format, .. } if format > FORMAT => {
                    return Err(Error::input(format!(
                        "line {}: written by a newer version of this program",
                        number + 1
                    )));
                }
                Record::Run { at, ignored, .. } => {
                    receipt.last_run = Some(at);
                    receipt.ignored.extend(ignored);
                }
                Record::Begin { step, resource, before, after } => {
                    receipt.next_step = step + 1;
                    receipt.changes.push(Change { step, resource, before, after, done: false });
                }
                Record::Done { step } => {
                    if let Some(change) = receipt.changes.iter_mut().find(|change| change.step == step) {
                        change.done = true;
                    }
                }
                Record::Closed { step } => receipt.changes.retain(|change| change.step != step),
            }
        }
        Ok(receipt)
    }
}

/// The journal, open for writing.
#[derive(Debug)]
pub struct Journal {
    file: Appending,
    next_step: u64,
}

impl Journal {
    /// Opens it behind its last whole record. With `run` it notes that a run starts, with these checks ignored.
    pub fn open(host: &mut Host, run: Option<&[String]>) -> Result<Journal> {
        let receipt = Receipt::load(host)?;
        for dir in [Path::new("/var"), Path::new("/var/lib"), Path::new(STATE_DIR)] {
            host.create_dir(dir, Mode::DIRECTORY)?;
        }
        let mut file = host.append(Path::new(JOURNAL), Mode::SECRET)?;
        // Behind the last whole record there is only what a crash has torn.
        file.cut(receipt.whole)?;
        let mut journal = Journal { file, next_step: receipt.next_step };
        if let Some(ignored) = run {
            let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let version = env!("CARGO_PKG_VERSION").to_owned();
            journal.append(&Record::Run { format: FORMAT, version, at, ignored: ignored.to_vec() })?;
        }
        Ok(journal)
    }

    /// Announces a step. It may start when this has returned.
    pub fn begin(&mut self, resource: &Resource, before: &State, after: &State) -> Result<u64> {
        let step = self.next_step;
        self.next_step += 1;
        let (resource, before, after) = (resource.clone(), before.clone(), after.clone());
        self.append(&Record::Begin { step, resource, before, after })?;
        Ok(step)
    }

    /// Notes that a step is finished and proven.
    pub fn done(&mut self, step: u64) -> Result<()> {
        self.append(&Record::Done { step })
    }

    /// Notes that undo is through with a step.
    pub fn close(&mut self, step: u64) -> Result<()> {
        self.append(&Record::Closed { step })
    }

    /// Removes the journal, when everything in it is closed.
    pub fn remove(self, host: &mut Host) -> Result<()> {
        drop(self.file);
        Journal::clear(host)
    }

    /// Removes what a run leaves that was killed before its first record was whole.
    pub fn clear(host: &mut Host) -> Result<()> {
        host.remove(Path::new(JOURNAL))?;
        host.remove_dir(Path::new(STATE_DIR)).map(drop)
    }

    fn append(&mut self, record: &Record) -> Result<()> {
        let mut line = serde_json::to_vec(record).context("a journal record")?;
        line.push(b'\n');
        self.file.add(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::File;

    fn file() -> Resource {
        Resource::File(File { path: "/f".into() })
    }

    #[test]
    fn a_torn_record_is_cut_off_and_the_next_run_writes_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        let mut journal = Journal::open(&mut host, Some(&[])).unwrap();
        let step = journal.begin(&file(), &State::Absent, &State::Text("x".into())).unwrap();
        journal.done(step).unwrap();
        drop(journal);
        let path = dir.path().join("var/lib/mitigator-vpn/journal.ndjson");
        let whole = std::fs::read_to_string(&path).unwrap();
        for cut in [1, 5, 12] {
            std::fs::write(&path, format!("{whole}{}", &r#"{"begin":{"step":1,"#[..cut])).unwrap();
            let mut journal = Journal::open(&mut host, Some(&["clock".into()])).unwrap();
            assert_eq!(journal.begin(&file(), &State::Absent, &State::Text("y".into())).unwrap(), 1);
            drop(journal);
            let receipt = Receipt::load(&host).unwrap();
            assert_eq!(receipt.changes.len(), 2);
            assert!(receipt.changes[0].done && !receipt.changes[1].done);
            assert_eq!(receipt.ignored, ["clock"]);
        }
    }

    #[test]
    fn a_damaged_record_names_its_line_and_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        drop(Journal::open(&mut host, Some(&[])).unwrap());
        let path = dir.path().join("var/lib/mitigator-vpn/journal.ndjson");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}nonsense\n")).unwrap();
        let error = Receipt::load(&host).unwrap_err();
        assert!(error.to_string().contains("journal.ndjson: line 2: not a journal record"), "{error}");
        assert!(error.way_out().unwrap().contains("mv "), "{error}");
    }

    #[test]
    fn closing_every_step_leaves_nothing_to_undo() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        let mut journal = Journal::open(&mut host, Some(&[])).unwrap();
        let step = journal.begin(&file(), &State::Absent, &State::Absent).unwrap();
        journal.close(step).unwrap();
        assert!(Receipt::load(&host).unwrap().changes.is_empty());
        journal.remove(&mut host).unwrap();
        assert!(!dir.path().join("var/lib/mitigator-vpn").exists());
    }
}
