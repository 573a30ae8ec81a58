//! The documents as lines for people.

use std::fmt::Write;

use console::style;

use super::documents::{
    Counts, Document, FindingDocument, HostId, InstallDocument, InstanceDocument, MemberDocument, Outcome,
    PlanDocument, PreflightDocument, StatusDocument, StepDocument, UndoDocument,
};
use crate::lang::Lang;
use crate::preflight::Verdict;

// Writing to a String can't fail, so the results of write! are dropped throughout.
macro_rules! line {
    ($out:expr) => { let _ = writeln!($out); };
    ($out:expr, $($arg:tt)*) => { let _ = writeln!($out, $($arg)*); };
}

impl Document for PreflightDocument {
    fn human(&self, lang: Lang) -> String {
        let mut out = String::new();
        let HostId { id, version, kernel } = &self.host;
        line!(out, "{}", lang.say(&format!("{id} {version}, kernel {}", or_dash(kernel))));
        line!(out);
        // The worst last: it stands right above the prompt.
        for verdict in [Verdict::Pass, Verdict::Unknown, Verdict::Warn, Verdict::Fail] {
            self.findings.iter().filter(|f| f.outcome == verdict).for_each(|f| finding(&mut out, f, lang));
        }
        let Counts { fail, warn, unknown, pass } = Counts::of(&self.findings);
        line!(out);
        let counts = format!("{fail} failed, {warn} warnings, {unknown} unknown, {pass} passed");
        line!(out, "{}", lang.say(&counts));
        if fail + warn > 0 {
            line!(out, "{}", lang.say("more about one of them: mitigator-vpn explain ID"));
        }
        out
    }
}

fn finding(out: &mut String, finding: &FindingDocument, lang: Lang) {
    let [pass, unknown, warn, fail] = column(lang, ["pass", "unknown", "warn", "FAIL"]);
    let margin = " ".repeat(pass.chars().count() + 1);
    let mark = match finding.outcome {
        Verdict::Pass => style(pass).green(),
        Verdict::Unknown => style(unknown).dim(),
        Verdict::Warn => style(warn).yellow().bold(),
        Verdict::Fail => style(fail).red().bold(),
    };
    let (id, detail) = (&finding.id, lang.render(&finding.detail.0));
    match finding.outcome {
        Verdict::Pass | Verdict::Unknown => {
            line!(out, "{mark} {id:<18} {detail}");
        }
        Verdict::Warn | Verdict::Fail => {
            let ignored = if finding.ignored { lang.say(" (a failure, ignored on request)") } else { String::new() };
            line!(out, "{mark} {} {detail}{ignored}", style(format!("{id:<18}")).bold());
            for hint in lang.render(&finding.hint.0).lines() {
                line!(out, "{margin}{} {hint}", style("→").cyan());
            }
        }
    }
}

impl Document for PlanDocument {
    fn human(&self, lang: Lang) -> String {
        let mut out = String::new();
        for f in &self.findings {
            finding(&mut out, f, lang);
        }
        if !self.findings.is_empty() {
            line!(out);
        }
        if self.steps.is_empty() {
            line!(out, "{}", lang.say("nothing to do: everything is as it should be"));
        }
        steps(&mut out, &self.steps, lang);
        for note in &self.notes {
            line!(out, "{} {}", style(lang.say("note:")).bold(), lang.say(note));
        }
        if let Some(outage) = &self.outage {
            line!(out, "{} {}", style(lang.say("outage:")).red().bold(), lang.say(outage));
        }
        out
    }
}

fn steps(out: &mut String, steps: &[StepDocument], lang: Lang) {
    for (number, step) in steps.iter().enumerate() {
        line!(out, "{:>2}. {} {}", number + 1, style(lang.say(&step.verb)).bold(), lang.say(&step.resource));
        for diff in &step.diff {
            let coloured = if diff.starts_with('+') { style(diff).green() } else { style(diff).red() };
            line!(out, "      {coloured}");
        }
    }
}

impl Document for InstallDocument {
    fn human(&self, lang: Lang) -> String {
        let mut out = String::new();
        if self.steps.is_empty() {
            line!(out, "{}", lang.say("nothing to do: everything is as it should be"));
        } else {
            let made = format!("{} changes made; take them back with: mitigator-vpn undo", self.steps.len());
            line!(out, "{}", lang.say(&made));
        }
        if let Some(instance) = &self.instance {
            instance_lines(&mut out, instance, lang);
        }
        if !self.next.is_empty() {
            line!(out);
            line!(out, "{}", style(lang.say("what is left for you:")).bold());
            for next in &self.next {
                line!(out, "  - {}", lang.say(next));
            }
        }
        out
    }
}

impl Document for StatusDocument {
    fn human(&self, lang: Lang) -> String {
        let mut out = String::new();
        instance_lines(&mut out, &self.instance, lang);
        line!(out);
        for difference in &self.differences {
            line!(out, "{} {}", style(lang.say("differs:")).red().bold(), lang.say(difference));
        }
        if self.outcome == Outcome::Pass {
            line!(out, "{}", style(lang.say("as it should be")).green());
        }
        out
    }
}

fn instance_lines(out: &mut String, instance: &InstanceDocument, lang: Lang) {
    let Some(address) = instance.vpn_address else {
        line!(out, "{}", lang.say("no VPN is set up here"));
        return;
    };
    let key = instance.public_key.map_or_else(|| lang.say("no key"), |key| key.to_string());
    line!(out, "{address}  {key}");
    match &instance.implementation {
        Some(implementation) => {
            line!(out, "{}", lang.say(&format!("tunnel up ({implementation} WireGuard)")));
        }
        None => {
            line!(out, "{}", style(lang.say("no tunnel is up")).red());
        }
    }
    if let Some(digest) = &instance.list_digest {
        let (digest, others) = (&digest[..12.min(digest.len())], instance.members.len());
        line!(out, "{}", lang.say(&format!("peer list {digest}… with {others} other members")));
    }
    if !instance.members.is_empty() {
        line!(out);
        member_lines(out, &instance.members, lang);
    }
}

fn member_lines(out: &mut String, members: &[MemberDocument], lang: Lang) {
    let [member, endpoint, handshake, received, sent] =
        ["member", "endpoint", "handshake", "received", "sent"].map(|word| lang.say(word));
    let width = [&handshake, &received, &sent].map(|word| word.chars().count()).into_iter().fold(10, usize::max);
    line!(out, "    {member:<16} {endpoint:<22} {handshake:>width$} {received:>width$} {sent:>width$}");
    for MemberDocument { vpn_address, endpoint, handshake_age, received, sent, reached, .. } in members {
        let mark = if *reached { style("✓").green() } else { style("✗").red() };
        let seen = lang.say(&handshake_age.map_or("never".to_owned(), age));
        let [received, sent] = [received, sent].map(|count| lang.say(&bytes(*count)));
        let (member, endpoint) = (vpn_address.to_string(), endpoint.to_string());
        line!(out, "  {mark} {member:<16} {endpoint:<22} {seen:>width$} {received:>width$} {sent:>width$}");
    }
}

impl Document for UndoDocument {
    fn human(&self, lang: Lang) -> String {
        let mut out = String::new();
        if self.changes.is_empty() {
            line!(out, "{}", lang.say("nothing to undo: no journal of an install is here"));
        }
        for change in &self.changes {
            let [taken_back, kept, failed] = column(lang, ["taken back", "kept", "FAILED"]);
            let mark = match change.fate.as_str() {
                "taken-back" => style(taken_back).green(),
                "kept" => style(kept).yellow(),
                _ => style(failed).red().bold(),
            };
            let reason = change.reason.as_ref().map_or(String::new(), |r| format!(": {}", lang.say(r)));
            line!(out, "{mark} {}{reason}", lang.say(&change.resource));
        }
        out
    }
}

/// The words that a column may have, each as wide as the widest.
pub(super) fn column<const N: usize>(lang: Lang, words: [&str; N]) -> [String; N] {
    let words = words.map(|word| lang.say(word));
    let width = words.iter().map(|word| word.chars().count()).max().unwrap_or_default();
    words.map(|word| format!("{word:<width$}"))
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Seconds as a short duration: `42 s`, `3 min`, `5 h`, `2 d`.
pub fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Bytes in binary units: `312 B`, `1.5 KiB`, `20.3 MiB`.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_are_short() {
        assert_eq!([age(0), age(119), age(120), age(7200), age(200_000)].join(" "), "0 s 119 s 2 min 2 h 2 d");
        assert_eq!([bytes(0), bytes(1023), bytes(1536), bytes(5 << 30)].join(" "), "0 B 1023 B 1.5 KiB 5.0 GiB");
    }
}
