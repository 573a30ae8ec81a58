//! The documents of one host as lines for people.

use std::fmt::Write;

use console::style;

use super::documents::{
    Counts, Document, FindingDocument, HostId, InstallDocument, InstanceDocument, MemberDocument, Outcome,
    PlanDocument, PreflightDocument, StatusDocument, StepDocument, UndoDocument, UndoFate,
};
use crate::converge::standing::Seen;
use crate::lang::Lang;
use crate::message::Message;
use crate::preflight::Severity;
use crate::{counted, message};

// Writing to a String can't fail, so the results of write! are dropped throughout.
macro_rules! line {
    ($out:expr) => { let _ = writeln!($out); };
    ($out:expr, $($arg:tt)*) => { let _ = writeln!($out, $($arg)*); };
}

impl Document for PreflightDocument {
    fn text(&self, lang: Lang) -> String {
        let mut out = String::new();
        let HostId { id, version, kernel } = &self.host;
        line!(
            out,
            "{}",
            lang.render(&message!("{id} {version}, kernel {kernel}", id, version, kernel = or_dash(kernel)))
        );
        line!(out);
        // The worst last: it stands right above the prompt.
        let all = [Severity::Pass, Severity::Unknown, Severity::Warn, Severity::Fail];
        for verdict in &all[if self.brief { 2 } else { 0 }..] {
            self.findings.iter().filter(|f| f.outcome == *verdict).for_each(|f| finding(&mut out, f, lang));
        }
        let Counts { fail, warn, unknown, pass } = Counts::of(&self.findings);
        line!(out);
        let counts =
            message!("{fail} failed, {warn} warnings, {unknown} unknown, {pass} passed", fail, warn, unknown, pass);
        line!(out, "{}", lang.render(&counts));
        if fail + warn > 0 {
            line!(out, "{}", lang.render(&message!("more about one of them: mitigator-vpn explain ID")));
        }
        out
    }
}

fn finding(out: &mut String, finding: &FindingDocument, lang: Lang) {
    let [pass, unknown, warn, fail] =
        column(lang, [message!("pass"), message!("unknown"), message!("warn"), message!("FAIL")]);
    let margin = " ".repeat(pass.chars().count() + 1);
    let mark = match finding.outcome {
        Severity::Pass => style(pass).green(),
        Severity::Unknown => style(unknown).dim(),
        Severity::Warn => style(warn).yellow().bold(),
        Severity::Fail => style(fail).red().bold(),
    };
    let (id, detail) = (&finding.id, lang.render(&finding.detail.0));
    match finding.outcome {
        Severity::Pass | Severity::Unknown => {
            line!(out, "{mark} {id:<18} {}", folded(&detail, margin.len() + 19));
        }
        Severity::Warn | Severity::Fail => {
            let ignored = if finding.ignored {
                format!(" {}", lang.render(&message!("(a failure, ignored on request)")))
            } else {
                String::new()
            };
            let detail = folded(&format!("{detail}{ignored}"), margin.len() + 19);
            line!(out, "{mark} {} {detail}", style(format!("{id:<18}")).bold());
            for hint in lang.render(&finding.hint.0).lines() {
                line!(out, "{margin}{} {hint}", style("→").cyan());
            }
        }
    }
}

impl Document for PlanDocument {
    fn text(&self, lang: Lang) -> String {
        let mut out = String::new();
        for f in &self.findings {
            finding(&mut out, f, lang);
        }
        if !self.findings.is_empty() {
            line!(out);
        }
        if self.steps.is_empty() {
            line!(out, "{}", lang.render(&message!("nothing to do: everything is as it should be")));
        }
        steps(&mut out, &self.steps, lang);
        for note in &self.notes {
            line!(out, "{} {}", style(lang.render(&message!("note:"))).bold(), lang.render(&note.0));
        }
        if let Some(outage) = &self.outage {
            line!(out, "{} {}", style(lang.render(&message!("outage:"))).red().bold(), lang.render(&outage.0));
        }
        out
    }
}

fn steps(out: &mut String, steps: &[StepDocument], lang: Lang) {
    for (number, step) in steps.iter().enumerate() {
        line!(out, "{:>2}. {} {}", number + 1, style(lang.render(&step.verb.0)).bold(), lang.render(&step.resource.0));
        for diff in &step.diff {
            let coloured = if diff.starts_with('+') { style(diff).green() } else { style(diff).red() };
            line!(out, "      {coloured}");
        }
    }
}

impl Document for InstallDocument {
    fn text(&self, lang: Lang) -> String {
        let mut out = String::new();
        if self.steps.is_empty() {
            line!(out, "{}", lang.render(&message!("nothing to do: everything is as it should be")));
        } else {
            let made = counted!(
                "{count} change made; take it back with: mitigator-vpn undo"
                    | "{count} changes made; take them back with: mitigator-vpn undo",
                count = self.steps.len()
            );
            line!(out, "{}", lang.render(&made));
        }
        if let Some(instance) = &self.instance {
            instance_lines(&mut out, instance, lang);
        }
        if !self.next.is_empty() {
            line!(out);
            line!(out, "{}", style(lang.render(&message!("left for you to do:"))).bold());
            for next in &self.next {
                line!(out, "  - {}", lang.render(&next.0));
            }
        }
        out
    }
}

impl Document for StatusDocument {
    fn text(&self, lang: Lang) -> String {
        let mut out = String::new();
        instance_lines(&mut out, &self.instance, lang);
        line!(out);
        for difference in &self.differences {
            let (mark, difference) = (lang.render(&message!("differs:")), lang.render(&difference.0));
            let difference = folded(&difference, mark.chars().count() + 1);
            line!(out, "{} {difference}", style(mark).red().bold());
        }
        if self.outcome == Outcome::Pass {
            line!(out, "{}", style(lang.render(&message!("as it should be"))).green());
        }
        out
    }
}

fn instance_lines(out: &mut String, instance: &InstanceDocument, lang: Lang) {
    match instance.set_up {
        Seen::Yes => {}
        Seen::No => {
            line!(out, "{}", lang.render(&message!("no VPN is set up here")));
            return;
        }
        Seen::Unknown => {
            line!(out, "{}", lang.render(&message!("whether a VPN is set up here isn't known")));
            return;
        }
    }
    let address = match instance.vpn_address {
        Some(address) => address.to_string(),
        None => lang.render(&message!("no VPN address")),
    };
    let key = instance.public_key.map_or_else(|| lang.render(&message!("no key")), |key| key.to_string());
    line!(out, "{address}  {key}");
    match (instance.implementation, instance.tunnel) {
        (Some(implementation), _) => {
            line!(out, "{}", lang.render(&message!("tunnel up ({implementation} WireGuard)", implementation)));
        }
        (None, Seen::Yes) => {
            line!(out, "{}", lang.render(&message!("a tunnel is up")));
        }
        (None, Seen::No) => {
            line!(out, "{}", style(lang.render(&message!("no tunnel is up"))).red());
        }
        (None, Seen::Unknown) => {
            line!(out, "{}", style(lang.render(&message!("whether a tunnel is up isn't known"))).yellow());
        }
    }
    if let Some(digest) = &instance.list_digest {
        let (digest, others) = (format!("{digest:.12}"), instance.members.len());
        line!(
            out,
            "{}",
            lang.render(&counted!(
                "peer list {digest}… with {count} other member" | "peer list {digest}… with {count} other members",
                count = others,
                digest
            ))
        );
    }
    if !instance.members.is_empty() {
        line!(out);
        member_lines(out, &instance.members, lang);
    }
}

fn member_lines(out: &mut String, members: &[MemberDocument], lang: Lang) {
    let [member, endpoint, handshake, received, sent] =
        [message!("member"), message!("endpoint"), message!("handshake"), message!("received"), message!("sent")]
            .map(|word| lang.render(&word));
    let width = [&handshake, &received, &sent].map(|word| word.chars().count()).into_iter().fold(10, usize::max);
    line!(out, "    {member:<16} {endpoint:<22} {handshake:>width$} {received:>width$} {sent:>width$}");
    for MemberDocument { vpn_address, endpoint, handshake_age, received, sent, reached, .. } in members {
        let mark = if *reached { style("✓").green() } else { style("✗").red() };
        let seen = lang.render(&handshake_age.map_or_else(|| message!("never"), age));
        let [received, sent] = [received, sent].map(|count| lang.render(&bytes(*count)));
        let (member, endpoint) = (vpn_address.to_string(), endpoint.to_string());
        line!(out, "  {mark} {member:<16} {endpoint:<22} {seen:>width$} {received:>width$} {sent:>width$}");
    }
}

impl Document for UndoDocument {
    fn text(&self, lang: Lang) -> String {
        let mut out = String::new();
        if self.changes.is_empty() {
            line!(out, "{}", lang.render(&message!("nothing to undo: no journal of an install is here")));
        }
        for change in &self.changes {
            let [taken_back, kept, failed] =
                column(lang, [message!("taken back"), message!("kept"), message!("FAILED")]);
            let mark = match change.fate {
                UndoFate::TakenBack => style(taken_back).green(),
                UndoFate::Kept => style(kept).yellow(),
                UndoFate::Failed => style(failed).red().bold(),
            };
            let reason = change.reason.as_ref().map_or(String::new(), |reason| format!(": {}", lang.render(&reason.0)));
            line!(out, "{mark} {}{reason}", lang.render(&change.resource.0));
            for hint in &change.hints {
                line!(out, "  {} {}", style("→").cyan(), lang.render(&hint.0));
            }
        }
        out
    }
}

/// On a terminal, lines that go on below where the text begins. Words stay whole: a command or a key is copied from there.
fn folded(text: &str, margin: usize) -> String {
    match console::Term::stdout().size_checked().filter(|_| console::Term::stdout().is_term()) {
        Some((_, width)) => fold(text, margin, usize::from(width)),
        None => text.to_owned(),
    }
}

fn fold(text: &str, margin: usize, width: usize) -> String {
    let (mut out, mut column) = (String::new(), margin);
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > margin && column + 1 + length > width {
            out += "\n";
            out += &" ".repeat(margin);
            column = margin;
        } else if column > margin {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += length;
    }
    out
}

/// The words that a column may have, each as wide as the widest.
pub(super) fn column<const N: usize>(lang: Lang, words: [Message; N]) -> [String; N] {
    let words = words.map(|word| lang.render(&word));
    let width = words.iter().map(|word| word.chars().count()).max().unwrap_or_default();
    words.map(|word| format!("{word:<width$}"))
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Seconds as a short duration: `42 s`, `3 min`, `5 h`, `2 d`.
pub(crate) fn age(seconds: u64) -> Message {
    match seconds {
        0..120 => message!("{count} s", count = seconds),
        120..7200 => message!("{count} min", count = seconds / 60),
        7200..172_800 => message!("{count} h", count = seconds / 3600),
        _ => message!("{count} d", count = seconds / 86_400),
    }
}

/// Bytes in binary units: `312 B`, `1.5 KiB`, `20.3 MiB`.
fn bytes(count: u64) -> Message {
    let scaled = |power: i32| format!("{:.1}", count as f64 / 1024_f64.powi(power));
    match count {
        0..1_024 => message!("{count} B", count),
        1_024..1_048_576 => message!("{count} KiB", count = scaled(1)),
        1_048_576..1_073_741_824 => message!("{count} MiB", count = scaled(2)),
        1_073_741_824..1_099_511_627_776 => message!("{count} GiB", count = scaled(3)),
        _ => message!("{count} TiB", count = scaled(4)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_hangs_below_its_beginning_and_no_word_is_broken() {
        assert_eq!(fold("a bb ccc", 2, 6), "a bb\n  ccc");
        assert_eq!(fold("0123456789 a", 2, 6), "0123456789\n  a");
        assert_eq!(fold("a bb", 2, 80), "a bb");
    }

    #[test]
    fn ages_and_sizes_are_short() {
        assert_eq!(
            [0, 119, 120, 7200, 200_000].map(|seconds| age(seconds).to_string()).join(" "),
            "0 s 119 s 2 min 2 h 2 d"
        );
        assert_eq!(
            [0, 1023, 1536, 5 << 30].map(|count| bytes(count).to_string()).join(" "),
            "0 B 1023 B 1.5 KiB 5.0 GiB"
        );
    }
}
