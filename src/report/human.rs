//! The documents as lines for people.

use std::fmt::Write;

use console::style;

use super::documents::{
    Counts, Document, InstallDocument, InstanceDocument, MemberDocument, Outcome, PlanDocument, PreflightDocument,
    StatusDocument, StepDocument, UndoDocument,
};
use crate::preflight::{Finding, Verdict};

// Writing to a String can't fail, so the results of write! are dropped throughout.
macro_rules! line {
    ($out:expr) => { let _ = writeln!($out); };
    ($out:expr, $($arg:tt)*) => { let _ = writeln!($out, $($arg)*); };
}

impl Document for PreflightDocument {
    fn human(&self) -> String {
        let mut out = String::new();
        line!(out, "{} {}, kernel {}", self.host.id, self.host.version, or_dash(&self.host.kernel));
        line!(out);
        // The worst last: it stands right above the prompt.
        for verdict in [Verdict::Pass, Verdict::Unknown, Verdict::Warn, Verdict::Fail] {
            self.findings.iter().filter(|f| f.outcome == verdict).for_each(|f| finding(&mut out, f));
        }
        let Counts { fail, warn, unknown, pass } = Counts::of(&self.findings);
        line!(out);
        line!(out, "{} failed, {} warnings, {} unknown, {} passed", fail, warn, unknown, pass);
        if fail + warn > 0 {
            line!(out, "more about one of them: mitigator-vpn explain ID");
        }
        out
    }
}

fn finding(out: &mut String, finding: &Finding) {
    let mark = match finding.outcome {
        Verdict::Pass => style("pass   ").green(),
        Verdict::Unknown => style("unknown").dim(),
        Verdict::Warn => style("warn   ").yellow().bold(),
        Verdict::Fail => style("FAIL   ").red().bold(),
    };
    let id = &finding.id;
    match finding.outcome {
        Verdict::Pass | Verdict::Unknown => {
            line!(out, "{mark} {id:<18} {}", finding.detail);
        }
        Verdict::Warn | Verdict::Fail => {
            let ignored = if finding.ignored { " (a failure, ignored on request)" } else { "" };
            line!(out, "{mark} {} {}{ignored}", style(format!("{id:<18}")).bold(), finding.detail);
            for hint in finding.hint.lines() {
                line!(out, "        {} {hint}", style("→").cyan());
            }
        }
    }
}

impl Document for PlanDocument {
    fn human(&self) -> String {
        let mut out = String::new();
        for f in &self.findings {
            finding(&mut out, f);
        }
        if !self.findings.is_empty() {
            line!(out);
        }
        if self.steps.is_empty() {
            line!(out, "nothing to do: everything is as it should be");
        }
        steps(&mut out, &self.steps);
        for note in &self.notes {
            line!(out, "{} {note}", style("note:").bold());
        }
        if let Some(outage) = &self.outage {
            line!(out, "{} {outage}", style("outage:").red().bold());
        }
        out
    }
}

fn steps(out: &mut String, steps: &[StepDocument]) {
    for (number, step) in steps.iter().enumerate() {
        line!(out, "{:>2}. {} {}", number + 1, style(&step.verb).bold(), step.resource);
        for diff in &step.diff {
            let coloured = if diff.starts_with('+') { style(diff).green() } else { style(diff).red() };
            line!(out, "      {coloured}");
        }
    }
}

impl Document for InstallDocument {
    fn human(&self) -> String {
        let mut out = String::new();
        if self.steps.is_empty() {
            line!(out, "nothing to do: everything is as it should be");
        } else {
            line!(out, "{} changes made; take them back with: mitigator-vpn undo", self.steps.len());
        }
        if let Some(instance) = &self.instance {
            instance_lines(&mut out, instance);
        }
        if !self.next.is_empty() {
            line!(out);
            line!(out, "{}", style("what is left for you:").bold());
            for next in &self.next {
                line!(out, "  - {next}");
            }
        }
        out
    }
}

impl Document for StatusDocument {
    fn human(&self) -> String {
        let mut out = String::new();
        instance_lines(&mut out, &self.instance);
        line!(out);
        for difference in &self.differences {
            line!(out, "{} {difference}", style("differs:").red().bold());
        }
        if self.outcome == Outcome::Pass {
            line!(out, "{}", style("as it should be").green());
        }
        out
    }
}

fn instance_lines(out: &mut String, instance: &InstanceDocument) {
    let Some(address) = instance.vpn_address else {
        line!(out, "no VPN is set up here");
        return;
    };
    let key = instance.public_key.map_or("no key".to_owned(), |key| key.to_string());
    line!(out, "{address}  {key}");
    match &instance.implementation {
        Some(implementation) => {
            line!(out, "tunnel up ({implementation} WireGuard)");
        }
        None => {
            line!(out, "{}", style("no tunnel is up").red());
        }
    }
    if let Some(digest) = &instance.list_digest {
        line!(out, "peer list {}… with {} other members", &digest[..12.min(digest.len())], instance.members.len());
    }
    if !instance.members.is_empty() {
        line!(out);
        line!(out, "    {:<16} {:<22} {:>10} {:>10} {:>10}", "member", "endpoint", "handshake", "received", "sent");
    }
    for MemberDocument { vpn_address, endpoint, handshake_age, received, sent, reached, .. } in &instance.members {
        let mark = if *reached { style("✓").green() } else { style("✗").red() };
        let seen = handshake_age.map_or("never".to_owned(), age);
        line!(
            out,
            "  {mark} {:<16} {:<22} {seen:>10} {:>10} {:>10}",
            vpn_address.to_string(),
            endpoint.to_string(),
            bytes(*received),
            bytes(*sent)
        );
    }
}

impl Document for UndoDocument {
    fn human(&self) -> String {
        let mut out = String::new();
        if self.changes.is_empty() {
            line!(out, "nothing to undo: no journal of an install is here");
        }
        for change in &self.changes {
            let mark = match change.fate.as_str() {
                "taken-back" => style("taken back").green(),
                "kept" => style("kept      ").yellow(),
                _ => style("FAILED    ").red().bold(),
            };
            let reason = change.reason.as_ref().map_or(String::new(), |r| format!(": {r}"));
            line!(out, "{mark} {}{reason}", change.resource);
        }
        out
    }
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
