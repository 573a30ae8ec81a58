//! The write-ahead journal: every change is on disk before it is made.
//!
//! `/var/lib/mitigator-vpn/journal.ndjson` has one JSON record a line, each fsynced before the step it announces. It is the
//! receipt as well: `undo` takes back what this file says was begun, newest first. A record without its newline was cut off
//! by a crash, so its step never started.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::host::{Appending, Host, Mode};
use crate::message;
use crate::message::Message;
use crate::resource::Step;

/// The directory for this program's own state.
pub(crate) const STATE_DIR: &str = "/var/lib/mitigator-vpn";
const JOURNAL: &str = "/var/lib/mitigator-vpn/journal.ndjson";

/// The format of the records; older ones stay readable.
const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Record {
    /// A run started.
    Run { format: u32, version: String, at: u64, ignored: Vec<String> },
    /// A step is about to change this resource.
    Begin {
        step: u64,
        #[serde(flatten)]
        change: Step,
    },
    /// The step is done, and observing its resource has shown so.
    Done { step: u64 },
    /// Undo has taken the step back, or found its resource changed by somebody else since.
    Closed { step: u64 },
}

/// A change that was begun and not closed by an undo.
#[derive(Clone, Debug, PartialEq)]
pub struct JournaledChange {
    /// Its number in the journal.
    pub number: u64,
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
    next_step: u64,
    whole: u64,
}

impl Receipt {
    /// The number that the next step will have.
    pub(crate) fn next_step(&self) -> u64 {
        self.next_step
    }

    /// The files that were written, or begun to be.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.changes.iter().filter_map(|change| change.step.path())
    }

    /// Reads the journal; without one, an empty receipt.
    pub fn load(host: &Host) -> Result<Receipt> {
        let text = host.read_text(Path::new(JOURNAL))?.unwrap_or_default();
        Receipt::parse(&text).with_context(|| Message::foreign(host.display(Path::new(JOURNAL)))).map_err(|error| {
            let command = format!("mv {JOURNAL} {JOURNAL}.damaged");
            error.hint(message!("undo can't trust it; put it aside: {command}", command))
        })
    }

    pub(crate) fn parse(text: &str) -> Result<Receipt> {
        let mut receipt = Receipt::default();
        // A crash may have left part of a record behind the last newline.
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        receipt.whole = whole as u64;
        for (number, line) in text[..whole].lines().enumerate() {
            let record: Record = serde_json::from_str(line)
                .map_err(|error| Error::input(message!("not a journal record: {error}", error = error.to_string())))
                .with_context(|| message!("line {line}", line = number + 1))?;
            match record {
                Record::Run { format, .. } if format > FORMAT => {
                    return Err(Error::input(message!("written by a newer version of this program")))
                        .with_context(|| message!("line {line}", line = number + 1));
                }
                Record::Run { at, ignored, .. } => {
                    receipt.last_run = Some(at);
                    receipt.ignored.extend(ignored);
                }
                Record::Begin { step, change } => {
                    receipt.next_step = step + 1;
                    receipt.changes.push(JournaledChange { number: step, step: change, done: false });
                }
                Record::Done { step } => {
                    if let Some(change) = receipt.changes.iter_mut().find(|change| change.number == step) {
                        change.done = true;
                    }
                }
                Record::Closed { step } => receipt.changes.retain(|change| change.number != step),
            }
        }
        Ok(receipt)
    }
}

/// The journal, open for writing.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Appending,
    next_step: u64,
}

impl Journal {
    /// Opens it behind its last whole record. With `run` it notes the start of a run that ignores these checks.
    pub(crate) fn open(host: &mut Host, run: Option<&[String]>) -> Result<Journal> {
        let receipt = Receipt::load(host)?;
        for dir in [Path::new("/var"), Path::new("/var/lib"), Path::new(STATE_DIR)] {
            host.create_dir(dir, Mode::DIRECTORY)?;
        }
        let mut file = host.append(Path::new(JOURNAL), Mode::SECRET)?;
        // What is behind the last whole record was torn by a crash.
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
    pub(crate) fn begin(&mut self, change: &Step) -> Result<u64> {
        let step = self.next_step;
        self.next_step += 1;
        self.append(&Record::Begin { step, change: change.clone() })?;
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
        host.remove(Path::new(JOURNAL))?;
        host.remove_dir(Path::new(STATE_DIR)).map(drop)
    }

    fn append(&mut self, record: &Record) -> Result<()> {
        let mut line = serde_json::to_vec(record).context(message!("a journal record"))?;
        line.push(b'\n');
        self.file.add(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Class;
    use crate::resource::{Content, File, ResourceKind, Transition};

    fn write(text: &str) -> Step {
        let (resource, after) = (File { path: "/f".into() }, Content::Text(text.into()));
        Transition { resource, before: Content::Absent, after }.into()
    }

    const COMPOSE: &str = r#"{"words":["docker","compose"],"generation":"V2","version":"2.26.1"}"#;
    const PUBLIC: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

    /// A begun step of each kind as 0.1.0 has written it: kind, resource, before, after.
    fn records() -> Vec<(ResourceKind, String, String)> {
        let record = |kind: ResourceKind, resource: &str, states: &str| {
            let line = format!(r#"{{"begin":{{"step":3,"resource":{{"{}":{resource}}},{states}}}}}"#, kind.word());
            (kind, line, states.to_owned())
        };
        let appears = r#""before":"absent","after":"present""#;
        let restarts = r#""before":"outdated","after":"running""#;
        ResourceKind::ALL
            .iter()
            .map(|kind| match kind {
                ResourceKind::AptSource => record(
                    *kind,
                    r#"{"path":"/etc/apt/sources.list.d/x.list","suite":"x","beside":["http://a.example x"],"mirror":null,"archive":"http://a.example"}"#,
                    appears,
                ),
                ResourceKind::Packages => record(
                    *kind,
                    r#"{"names":["wireguard-tools"],"brings":["dkms"],"leftovers":["dkms"]}"#,
                    r#""before":{"packages":{"dkms":null,"wireguard-tools":"1.0"}},"after":{"packages":{"dkms":"","wireguard-tools":""}}"#,
                ),
                ResourceKind::Module => record(*kind, r#"{"name":"wireguard"}"#, appears),
                ResourceKind::FirewallRule => {
                    record(*kind, r#"{"backend":"nftables","place":"inet filter input","port":4567}"#, appears)
                }
                ResourceKind::Directory => record(*kind, r#"{"path":"/srv/mitigator"}"#, appears),
                ResourceKind::File => {
                    record(*kind, r#"{"path":"/f"}"#, r#""before":{"text":"old\n"},"after":{"text":"new\n"}"#)
                }
                ResourceKind::PrivateFile => record(
                    *kind,
                    r#"{"path":"/srv/mitigator/vpn-private.conf"}"#,
                    &format!(r#""before":"absent","after":{{"private":{{"template":"[Interface]\n","public":"{PUBLIC}"}}}}"#),
                ),
                ResourceKind::EnvKey => record(
                    *kind,
                    r#"{"path":"/srv/mitigator/.env","key":"COMPOSE_FILE"}"#,
                    r#""before":"empty","after":{"line":"COMPOSE_FILE=a.yml"}"#,
                ),
                ResourceKind::GatewayImage => record(*kind, r#"{"reference":"x:1","userspace":false}"#, appears),
                ResourceKind::Stack => {
                    record(*kind, &format!(r#"{{"dir":"/srv/mitigator","compose":{COMPOSE},"restart":"full"}}"#), restarts)
                }
                ResourceKind::Tunnel => record(
                    *kind,
                    &format!(r#"{{"dir":"/srv/mitigator","public_conf":"/srv/mitigator/vpn-public.conf","compose":{COMPOSE}}}"#),
                    restarts,
                ),
            })
            .collect()
    }

    #[test]
    fn a_record_of_each_kind_is_read_and_written_as_0_1_0_wrote_it() {
        for (kind, line, _) in records() {
            let receipt = Receipt::parse(&format!("{line}\n")).unwrap();
            assert_eq!(receipt.changes[0].step.kind(), kind, "{line}");
            let record = Record::Begin { step: 3, change: receipt.changes[0].step.clone() };
            assert_eq!(serde_json::to_string(&record).unwrap(), line);
        }
    }

    #[test]
    fn a_state_of_another_kind_is_bad_input_and_its_line_is_named() {
        let run = r#"{"run":{"format":1,"version":"0.1.0","at":1,"ignored":[]}}"#;
        for (kind, line, states) in records() {
            let is_live = matches!(kind, ResourceKind::Stack | ResourceKind::Tunnel);
            let foreign = if is_live {
                r#""before":"absent","after":"present""#
            } else {
                r#""before":"stopped","after":"running""#
            };
            let error = Receipt::parse(&format!("{run}\n{}\n", line.replace(&states, foreign))).unwrap_err();
            assert_eq!(error.class(), Class::Input);
            let words = error.to_string();
            assert!(words.starts_with("line 2: not a journal record: ") && words.contains(kind.word()), "{words}");
        }
    }

    #[test]
    fn a_torn_record_is_cut_off_and_the_next_run_writes_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        let mut journal = Journal::open(&mut host, Some(&[])).unwrap();
        let step = journal.begin(&write("x")).unwrap();
        journal.done(step).unwrap();
        drop(journal);
        let path = dir.path().join("var/lib/mitigator-vpn/journal.ndjson");
        let whole = std::fs::read_to_string(&path).unwrap();
        for cut in [1, 5, 12] {
            std::fs::write(&path, format!("{whole}{}", &r#"{"begin":{"step":1,"#[..cut])).unwrap();
            let mut journal = Journal::open(&mut host, Some(&["clock".into()])).unwrap();
            assert_eq!(journal.begin(&write("y")).unwrap(), 1);
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
        let step = journal.begin(&write("x")).unwrap();
        journal.close(step).unwrap();
        assert!(Receipt::load(&host).unwrap().changes.is_empty());
        journal.remove(&mut host).unwrap();
        assert!(!dir.path().join("var/lib/mitigator-vpn").exists());
    }
}
