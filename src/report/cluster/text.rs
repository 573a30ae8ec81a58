//! The documents of `cluster` as lines for people.

use std::fmt::Write;

use console::style;

use super::{Cell, ClusterApplyDocument, ClusterPlanDocument, ClusterStatusDocument, HostStatusDocument, PlannedHost};
use crate::cluster::action::Need;
use crate::cluster::rollout::HostOutcome;
use crate::cluster::status::PairVerdict;
use crate::lang::Lang;
use crate::message::Message;
use crate::report::documents::{Document, FindingDocument, Outcome, Text};
use crate::report::text::{age, column};
use crate::wireguard::ListDigest;
use crate::{counted, message};

/// Hexadecimal digits of a digest in a line of its own, and in a table.
const SHORT: usize = 12;
const SHORTEST: usize = 8;
/// A matrix of more columns doesn't fit on a screen; the differences below it say what is wrong in any case.
const MAX_COLUMNS: usize = 20;

// Writing to a String can't fail, so the results of write! are dropped throughout.
macro_rules! line {
    ($out:expr) => { let _ = writeln!($out); };
    ($out:expr, $($arg:tt)*) => { let _ = writeln!($out, $($arg)*); };
}

fn short(digest: Option<ListDigest>, digits: usize) -> String {
    digest.map_or_else(|| "-".to_owned(), |digest| format!("{digest:.digits$}"))
}

impl Document for ClusterPlanDocument {
    fn text(&self, lang: Lang) -> String {
        let mut out = String::new();
        for change in &self.list.changes {
            for text in lang.render(&change.into()).lines() {
                let coloured = if text.starts_with('+') { style(text).green() } else { style(text).red() };
                line!(out, "  {coloured}");
            }
        }
        for dispute in &self.list.disputes {
            line!(out, "{} {}", style(lang.render(&message!("undecided:"))).yellow().bold(), lang.render(&dispute.0));
        }
        let count = self.hosts.iter().filter(|host| host.need == Need::Nothing).count();
        if self.is_empty() && count > 0 {
            let right = counted!(
                "nothing to do: {count} host is as it should be" | "nothing to do: {count} hosts are as they should be",
                count = count
            );
            line!(out, "{}", lang.render(&right));
        }
        for host in &self.hosts {
            self.host_lines(&mut out, host, lang);
        }
        out
    }
}

impl ClusterPlanDocument {
    fn host_lines(&self, out: &mut String, host: &PlannedHost, lang: Lang) {
        let name = style(&host.name).bold();
        match host.need {
            Need::Nothing => {}
            Need::List if self.list.changes.is_empty() && host.text_only => {
                line!(
                    out,
                    "{name}: {}",
                    lang.render(&message!("takes other comments or another order, without a restart"))
                );
            }
            Need::List => {
                let list = counted!(
                    "takes the list of {count} member, without a restart"
                        | "takes the list of {count} members, without a restart",
                    count = self.list.members
                );
                line!(out, "{name}: {}", lang.render(&list));
            }
            Need::Install => {
                let steps = Message::joined(host.steps.iter().map(|step| step.0.clone()).collect(), ", ");
                line!(out, "{name}: {}", lang.render(&message!("install: {steps}", steps)));
            }
            Need::Refused => {
                line!(out, "{name}: {}", style(lang.render(&message!("stays as it is:"))).red());
                if let Some(Text(reason)) = &host.reason {
                    line!(out, "    {}", lang.render(reason));
                }
                host.findings.iter().for_each(|finding| finding_lines(out, finding, lang));
            }
            Need::Behind => {
                let reason = host.reason.as_ref().map_or_else(|| "-".to_owned(), |reason| lang.render(&reason.0));
                line!(out, "{name}: {} {reason}", style(lang.render(&message!("behind:"))).red());
            }
        }
        if let Some(Text(outage)) = &host.outage {
            line!(out, "    {} {}", style(lang.render(&message!("outage:"))).red().bold(), lang.render(outage));
        }
    }
}

fn finding_lines(out: &mut String, finding: &FindingDocument, lang: Lang) {
    line!(out, "    {:<18} {}", finding.id, lang.render(&finding.detail.0));
    for hint in lang.render(&finding.hint.0).lines() {
        line!(out, "        {} {hint}", style("→").cyan());
    }
}

impl Document for ClusterApplyDocument {
    fn text(&self, lang: Lang) -> String {
        let mut out = String::new();
        let words = [
            message!("unchanged"),
            message!("changed"),
            message!("taken back"),
            message!("behind"),
            message!("refused"),
            message!("FAILED"),
        ];
        let [unchanged, changed, taken_back, behind, refused, failed] = column(lang, words);
        let margin = " ".repeat(unchanged.chars().count() + 3);
        for host in &self.hosts {
            let outcome = match host.fate {
                HostOutcome::Unchanged => style(&unchanged).dim(),
                HostOutcome::Changed => style(&changed).green(),
                HostOutcome::TakenBack => style(&taken_back).yellow(),
                HostOutcome::Behind => style(&behind).red(),
                HostOutcome::Refused => style(&refused).red(),
                HostOutcome::Failed => style(&failed).red().bold(),
            };
            let reason = host.reason.as_ref().map_or_else(String::new, |reason| lang.render(&reason.0));
            let (address, digest) = (host.vpn_address.to_string(), short(host.digest, SHORT));
            line!(out, "{}", format!("{outcome} {:<16} {address:<16} {digest}  {reason}", host.name).trim_end());
            for member in &host.silent {
                let silent = message!(
                    "no answer from {member}: UDP is blocked, the endpoint is wrong, or it lacks the key",
                    member
                );
                line!(out, "{margin}{}", lang.render(&silent));
            }
        }
        if let Some(Text(stopped)) = &self.stopped {
            line!(out, "{} {}", style(lang.render(&message!("stopped:"))).red().bold(), lang.render(stopped));
        }
        let right = self.hosts.iter().filter(|host| host.digest.is_some() && host.digest == self.digest).count();
        let (count, digest) = (self.hosts.len(), short(self.digest, SHORT));
        let total = message!("{right} of {count} hosts have the list {digest}", right, count, digest);
        line!(out, "{}", lang.render(&total));
        for Text(next) in &self.next {
            line!(out, "  - {}", lang.render(next));
        }
        out
    }
}

impl Document for ClusterStatusDocument {
    fn text(&self, lang: Lang) -> String {
        let mut out = String::new();
        self.matrix(&mut out, lang);
        self.hosts.iter().for_each(|host| host.line(&mut out, lang));
        line!(out);
        for Text(difference) in &self.differences {
            line!(out, "{} {}", style(lang.render(&message!("differs:"))).red().bold(), lang.render(difference));
        }
        if self.outcome == Outcome::Pass {
            line!(out, "{}", style(lang.render(&message!("as it should be"))).green());
        }
        out
    }
}

impl HostStatusDocument {
    fn line(&self, out: &mut String, lang: Lang) {
        let live = match self.live {
            None => "-".to_owned(),
            // A digest of members means nothing to a person: here it is the list that the device has.
            Some(_) if self.live == self.live_expected => short(self.disk, SHORTEST),
            Some(_) => lang.render(&message!("differs")),
        };
        let offset = self.clock_offset.map_or_else(
            || "-".to_owned(),
            |ms| lang.render(&message!("{count} s", count = format!("{:+.1}", ms as f64 / 1000.0))),
        );
        let words = [message!("disk"), message!("container"), message!("live"), message!("clock")];
        let [disk, container, tunnel, clock] = words.map(|word| lang.render(&word));
        line!(
            out,
            "{:<16} {:<16} {disk} {:<9} {container} {:<9} {tunnel} {live:<9} {clock} {offset}",
            self.name,
            self.vpn_address.to_string(),
            short(self.disk, SHORTEST),
            short(self.container, SHORTEST),
        );
    }
}

impl Cell {
    /// In a word or two.
    fn text(&self, lang: Lang) -> String {
        match (self.verdict, self.path_mtu, self.cause) {
            (PairVerdict::Ok, _, _) => lang.render(&self.handshake_age.map_or_else(|| message!("ok"), age)),
            (PairVerdict::Narrow, Some(size), _) => format!("mtu {size}"),
            (PairVerdict::NoAnswer, _, Some(cause)) => lang.render(&cause.message()),
            (PairVerdict::Narrow, None, _) | (PairVerdict::NoAnswer, _, None) => lang.render(&message!("NO")),
        }
    }
}

impl ClusterStatusDocument {
    fn matrix(&self, out: &mut String, lang: Lang) {
        if self.hosts.len() > MAX_COLUMNS {
            let right = self.cells.iter().filter(|cell| cell.verdict == PairVerdict::Ok).count();
            let answers = message!("{right} of {count} pairs answer", right, count = self.cells.len());
            line!(out, "{}", lang.render(&answers));
            line!(out);
            return;
        }
        let width = self.cells.iter().map(|cell| cell.text(lang).chars().count()).fold(9, usize::max);
        let _ = write!(out, "{:<16}", lang.render(&message!("from \\ to")));
        for host in &self.hosts {
            let _ = write!(out, " {:>width$}", host.name.chars().take(width).collect::<String>());
        }
        line!(out);
        for from in &self.hosts {
            let _ = write!(out, "{:<16}", from.name);
            for to in &self.hosts {
                let cell = self.cells.iter().find(|cell| (cell.from, cell.to) == (from.vpn_address, to.vpn_address));
                let text = cell.map_or_else(|| ".".to_owned(), |cell| cell.text(lang));
                let padded = format!("{text:>width$}");
                let is_ok = cell.is_none_or(|cell| cell.verdict == PairVerdict::Ok);
                let _ = write!(out, " {}", if is_ok { style(padded) } else { style(padded).red() });
            }
            line!(out);
        }
        line!(out);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cluster::status::Cause;

    #[test]
    fn a_matrix_stays_aligned_in_every_language() {
        let hosts = [("msk-1", 1), ("spb-1", 2)].map(|(name, n)| HostStatusDocument {
            name: name.to_owned(),
            vpn_address: [10, 8, 3, n].into(),
            seen: true,
            disk: None,
            container: None,
            live: None,
            live_expected: None,
            clock_offset: Some(1500),
        });
        let cell = |from: u8, to: u8, cause: Option<Cause>| Cell {
            from: [10, 8, 3, from].into(),
            to: [10, 8, 3, to].into(),
            handshake_age: Some(42),
            verdict: if cause.is_some() { PairVerdict::NoAnswer } else { PairVerdict::Ok },
            cause,
            path_mtu: None,
        };
        let cause = Cause::WrongEndpoint.message();
        let document = ClusterStatusDocument {
            schema: 1,
            digest: None,
            hosts: hosts.into(),
            cells: vec![cell(1, 2, Some(Cause::WrongEndpoint)), cell(2, 1, None)],
            differences: vec![
                message!("{from} gets no answer from {to}: {cause}", from = "msk-1", to = "spb-1", cause).into(),
            ],
            outcome: Outcome::Fail,
        };
        for (lang, words) in [
            (
                Lang::En,
                ["wrong-endpoint", "42 s", "+1.5 s", "differs: msk-1 gets no answer from spb-1: wrong-endpoint"],
            ),
            (
                Lang::Ru,
                [
                    "неверный эндпоинт",
                    "42 с",
                    "+1.5 с",
                    "расхождение: msk-1 не получает ответа от spb-1: неверный эндпоинт",
                ],
            ),
        ] {
            let out = document.text(lang);
            let widths: BTreeSet<usize> = out.lines().take(3).map(|line| line.chars().count()).collect();
            assert_eq!(widths.len(), 1, "{out}");
            words.iter().for_each(|word| assert!(out.contains(word), "{word}:\n{out}"));
        }
    }

    #[test]
    fn documents_keep_their_words() {
        let host = |need| PlannedHost {
            name: "h1".to_owned(),
            vpn_address: [10, 8, 3, 1].into(),
            need,
            text_only: false,
            steps: vec![],
            outage: None,
            findings: vec![],
            reason: None,
            digest: None,
        };
        let words: Vec<String> = [Need::Nothing, Need::List, Need::Install, Need::Refused, Need::Behind]
            .map(|need| serde_json::to_value(host(need)).unwrap()["need"].as_str().unwrap().to_owned())
            .into();
        assert_eq!(words, ["nothing", "list", "install", "refused", "behind"]);
        let outcomes = [
            HostOutcome::Unchanged,
            HostOutcome::Changed,
            HostOutcome::TakenBack,
            HostOutcome::Behind,
            HostOutcome::Refused,
            HostOutcome::Failed,
        ];
        let words = serde_json::to_value(outcomes).unwrap();
        assert_eq!(words, serde_json::json!(["unchanged", "changed", "taken-back", "behind", "refused", "failed"]));
        let verdicts = serde_json::to_value([PairVerdict::Ok, PairVerdict::Narrow, PairVerdict::NoAnswer]).unwrap();
        assert_eq!(verdicts, serde_json::json!(["ok", "narrow", "no-answer"]));
    }
}
