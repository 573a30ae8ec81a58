//! What would go wrong, all of it at once, before anything changes.
//!
//! A check is a row of a table: a stable id, a title, the field note it comes from, what it needs, a pure function of
//! the facts, and the text that `explain ID` prints. All rows run before anything is decided. Each module below holds
//! the rows of one part of the facts; this file runs them.

mod compose;
mod docker;
mod host;
pub(crate) mod id;
mod instance;
mod judgement;
mod kernel;
mod network;
mod packages;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::distro::Distro;
use crate::facts::{Facts, Part, Unread};
use crate::message;
use crate::message::{Message, printable_text};
use crate::settings::Settings;

pub(crate) use judgement::Judgement;

/// What a check may look at: everything known, nothing more.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// What was read from the host.
    pub facts: &'a Facts,
    /// The release's data; `Err` says why the release is not supported, and which one is nearest.
    pub distro: Result<&'a Distro, &'a Message>,
    /// What was asked for.
    pub settings: &'a Settings,
}

/// One row.
pub struct Check {
    /// One of [`id`].
    pub id: &'static str,
    /// What is promised when it passes, as a fragment: `the kernel has WireGuard`.
    pub title: &'static str,
    /// The field note it comes from, `FN-26`.
    pub(crate) note: Option<&'static str>,
    pub(crate) needs: Needs,
    /// The facts it judges by. With a hole in them it can't pass.
    pub(crate) rests_on: &'static [Part],
    /// Pure.
    pub(crate) run: fn(&Inputs) -> Judgement,
    /// What it means, how it is decided, how to mend it: what `explain` prints.
    pub explain: &'static str,
}

/// What a check has to see before it can judge a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Its files: a mounted tree will do.
    Files,
    /// Its kernel, its daemons or its network.
    LiveHost,
}

impl Needs {
    fn are_met(self, facts: &Facts) -> bool {
        match self {
            Needs::Files => true,
            Needs::LiveHost => facts.live,
        }
    }
}

/// How bad a finding is, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Verdict")]
pub enum Severity {
    /// As it should be.
    Pass,
    /// Can't be known here.
    Unknown,
    /// Works, with a reservation.
    Warn,
    /// Would go wrong.
    Fail,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The check's.
    #[serde(deserialize_with = "printable_text")]
    pub id: String,
    /// After `--ignore`.
    pub outcome: Severity,
    /// The promise that was checked.
    pub title: Message,
    /// What was seen.
    pub detail: Message,
    /// What to type, unless it passed.
    pub hint: Option<Message>,
    /// The field note.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "printable_note")]
    pub note: Option<String>,
    /// Whether this was a failure that `--ignore` turned into a warning.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub ignored: bool,
}

fn printable_note<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    printable_text(deserializer).map(Some)
}

impl Finding {
    /// What to type, in English; empty if it passed.
    pub fn way_out(&self) -> String {
        self.hint.as_ref().map(Message::to_string).unwrap_or_default()
    }
}

/// Every check, in the order it is reported: the machine first, the instance last.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    [host::CHECKS, kernel::CHECKS, packages::CHECKS, docker::CHECKS, compose::CHECKS, instance::CHECKS, network::CHECKS]
        .into_iter()
        .flatten()
}

/// Runs every check and applies `--ignore`.
pub fn run(inputs: &Inputs) -> Vec<Finding> {
    checks().map(|check| finding(check, inputs)).collect()
}

fn finding(check: &Check, inputs: &Inputs) -> Finding {
    let judgement = if check.needs.are_met(inputs.facts) {
        (check.run)(inputs)
    } else {
        Judgement::unknown(message!("only a running host shows this"))
    };
    let (severity, detail, hint) = match judgement {
        Judgement::Pass(_) if let Some(unread) = hole(check, inputs.facts) => {
            (Severity::Unknown, message!("this can't be known: {reason}", reason = &unread.reason), None)
        }
        Judgement::Pass(detail) => (Severity::Pass, detail, None),
        Judgement::Unknown(detail) => (Severity::Unknown, detail, None),
        Judgement::Warn { detail, hint } => (Severity::Warn, detail, Some(hint)),
        Judgement::Fail { detail, hint } => (Severity::Fail, detail, Some(hint)),
    };
    let ignored = severity == Severity::Fail && inputs.settings.ignore.iter().any(|id| id == check.id);
    Finding {
        id: check.id.to_owned(),
        outcome: if ignored { Severity::Warn } else { severity },
        title: Message::fixed(check.title),
        detail,
        hint,
        note: check.note.map(str::to_owned),
        ignored,
    }
}

/// What couldn't be read of what a check judges by.
fn hole<'a>(check: &Check, facts: &'a Facts) -> Option<&'a Unread> {
    facts.unread.iter().find(|unread| check.rests_on.contains(&unread.part))
}

/// The hint that sends to a check's page.
fn explained(id: &str) -> Message {
    Message::command(format!("mitigator-vpn explain {id}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The verdict of one row, and its words.
    pub(super) fn outcome(id: &str, facts: &Facts) -> (Severity, String) {
        outcome_with(id, facts, &Settings::default())
    }

    /// As [`outcome`], with settings.
    pub(super) fn outcome_with(id: &str, facts: &Facts, settings: &Settings) -> (Severity, String) {
        let distro = Distro::detect(&facts.os);
        let inputs = Inputs { facts, distro: distro.as_ref(), settings };
        let finding = run(&inputs).into_iter().find(|f| f.id == id).expect("a check of this id");
        let hint = finding.hint.map(|hint| hint.to_string()).unwrap_or_default();
        (finding.outcome, format!("{} [{hint}]", finding.detail))
    }

    #[test]
    fn ids_are_unique_and_every_row_explains_itself() {
        let ids: BTreeSet<&str> = checks().map(|c| c.id).collect();
        assert_eq!(ids.len(), checks().count());
        for check in checks() {
            assert!(check.explain.len() > 100, "{}", check.id);
            assert!(check.explain.lines().all(|line| line.chars().count() <= 120), "{}", check.id);
        }
    }

    #[test]
    fn where_the_way_out_differs_by_release_the_explanation_names_each() {
        let named: [(&str, &[&str]); 8] = [
            ("apt-sources", &["Debian 10:", "Debian 11:", "Elsewhere"]),
            ("clock", &["Debian 10:", "Debian 11 and later, Ubuntu:"]),
            ("compose", &["Debian 12", "Debian 13", "Ubuntu"]),
            ("docker", &["Debian 10 to 12, Ubuntu:", "Debian 13:"]),
            ("dpkg-lock", &["Debian 10's apt"]),
            ("kernel-next", &["Debian 10:", "Ubuntu, cloud kernels:", "Debian 11 and later:", "Ubuntu otherwise:"]),
            ("kernel-wireguard", &["Debian 10:", "Debian 11 and later:", "Ubuntu 20.04 and later:"]),
            ("secure-boot", &["Debian 10, without a console:", "Debian 10, with", "Debian 11 and later, Ubuntu:"]),
        ];
        for (id, releases) in named {
            let check = checks().find(|check| check.id == id).expect(id);
            assert!(releases.iter().all(|release| check.explain.contains(release)), "{id}: {}", check.explain);
        }
    }

    #[test]
    fn no_check_passes_by_what_could_not_be_read() {
        let settings = crate::preflight::network::tests::settings();
        for part in [
            Part::Machine,
            Part::Kernel,
            Part::Packages,
            Part::Docker,
            Part::Stack,
            Part::Instance,
            Part::Net,
            Part::Journal,
        ] {
            let mut facts = Facts::healthy();
            facts.unread.push(Unread { part, reason: Message::foreign("Input/output error") });
            let resting: Vec<&Check> = checks().filter(|check| check.rests_on.contains(&part)).collect();
            assert!(!resting.is_empty(), "{part:?}");
            for check in resting {
                let (severity, text) = outcome_with(check.id, &facts, &settings);
                assert_ne!(severity, Severity::Pass, "{part:?}: {} {text}", check.id);
                assert!(severity != Severity::Unknown || text.contains("Input/output error"), "{text}");
            }
        }
    }

    #[test]
    fn an_ignored_failure_becomes_a_visible_warning() {
        let mut facts = Facts::healthy();
        facts.machine.is_root = false;
        let settings = Settings { ignore: vec!["root".into()], ..Settings::default() };
        assert_eq!(outcome("root", &facts).0, Severity::Fail);
        assert_eq!(outcome_with("root", &facts, &settings).0, Severity::Warn);
        let distro = Distro::detect(&facts.os);
        let inputs = Inputs { facts: &facts, distro: distro.as_ref(), settings: &settings };
        assert!(run(&inputs).iter().any(|f| f.id == "root" && f.ignored));
    }
}
