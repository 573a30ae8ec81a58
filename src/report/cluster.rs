//! What `cluster` has to say.

use std::fmt::Write;
use std::net::Ipv4Addr;

use console::style;
use schemars::JsonSchema;
use serde::Serialize;

use super::documents::{Document, Outcome};
use super::text::column;
use crate::lang::Lang;
use crate::message::Message;

use crate::wireguard::Change;

// Writing to a String can't fail, so the results of write! are dropped throughout.
macro_rules! line {
    ($out:expr) => { let _ = writeln!($out); };
    ($out:expr, $($arg:tt)*) => { let _ = writeln!($out, $($arg)*); };
}

/// The list that all instances are to have.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClusterList {
    /// Its SHA-256; nothing while keys are still to be made.
    pub digest: Option<String>,
    /// How many members it has.
    pub members: usize,
    /// What changes against the list that most hosts have.
    pub changes: Vec<Change>,
}

/// `cluster plan --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClusterPlanDocument {
    /// The version of this document.
    pub schema: u32,
    /// The list that all instances are to have.
    pub list: ClusterList,
    /// What has to be done to each host.
    pub hosts: Vec<PlannedHost>,
    /// `pass` when all can be brought about, `warn` when a host is out of reach, `fail` when a check forbids one.
    pub outcome: Outcome,
}

/// What has to be done to a host.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlannedHost {
    /// What it is called.
    pub name: String,
    /// Its address in the VPN.
    pub vpn_address: Ipv4Addr,
    /// `nothing`, `list`, `install`, `refused` or `behind`.
    pub need: String,
    /// The steps of an install.
    pub steps: Vec<String>,
    /// The outage it means.
    pub outage: Option<String>,
    /// What forbids it, or worries.
    pub findings: Vec<super::FindingDocument>,
    /// Why it can't be reached.
    pub reason: Option<String>,
    /// SHA-256 of the list it has.
    pub digest: Option<String>,
}

impl ClusterPlanDocument {
    /// Whether there is anything to do.
    pub fn is_empty(&self) -> bool {
        !self.hosts.iter().any(|host| host.need == "list" || host.need == "install")
    }
}

impl Document for ClusterPlanDocument {
    fn text(&self, lang: Lang) -> String {
        let mut out = String::new();
        for change in &self.list.changes {
            for text in lang.say_lines(&change.to_string()).lines() {
                let coloured = if text.starts_with('+') { style(text).green() } else { style(text).red() };
                line!(out, "  {coloured}");
            }
        }
        if self.is_empty() {
            let right = format!("nothing to do: {} hosts are as they should be", self.count("nothing"));
            line!(out, "{}", lang.say(&right));
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
        match host.need.as_str() {
            "nothing" => {}
            "list" => {
                let list = format!("takes the list of {} members, without a restart", self.list.members);
                line!(out, "{name}: {}", lang.say(&list));
            }
            "install" => {
                let steps: Vec<String> = host.steps.iter().map(|step| lang.say(step)).collect();
                line!(out, "{name}: install: {}", steps.join(", "));
            }
            "refused" => {
                line!(out, "{name}: {}", style(lang.say("stays as it is:")).red());
            }
            _ => {
                let reason = host.reason.as_deref().unwrap_or("-");
                line!(out, "{name}: {} {}", style(lang.say("behind:")).red(), lang.say(reason));
            }
        }
        if host.need == "refused" {
            for finding in &host.findings {
                line!(out, "    {:<18} {}", finding.id, lang.render(&finding.detail.0));
                lang.render(&finding.hint.0).lines().for_each(|hint| {
                    line!(out, "        {} {}", style("→").cyan(), hint);
                });
            }
        }
        if let Some(outage) = &host.outage {
            line!(out, "    {} {}", style(lang.say("outage:")).red().bold(), lang.say(outage));
        }
    }

    fn count(&self, need: &str) -> usize {
        self.hosts.iter().filter(|host| host.need == need).count()
    }
}

/// `cluster apply --json`, and that of `add` and `remove`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClusterApplyDocument {
    /// The version of this document.
    pub schema: u32,
    /// SHA-256 of the list that all are to have.
    pub digest: Option<String>,
    /// How each host stands now, by looking at it once more.
    pub hosts: Vec<AppliedHost>,
    /// Why the run stopped before its end.
    pub stopped: Option<String>,
    /// What is left for a person to do.
    pub next: Vec<String>,
    /// `pass` when all have the list and answer each other, otherwise `fail`.
    pub outcome: Outcome,
}

/// How a host stands after a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AppliedHost {
    /// What it is called.
    pub name: String,
    /// Its address in the VPN.
    pub vpn_address: Ipv4Addr,
    /// `unchanged`, `changed`, `taken-back`, `behind` (it has another list), `refused` or `failed`.
    pub fate: String,
    /// What was done.
    pub steps: Vec<String>,
    /// Why it isn't as it should be.
    pub reason: Option<String>,
    /// Members that don't answer it, though they should.
    pub silent: Vec<Ipv4Addr>,
    /// SHA-256 of the list it has now.
    pub digest: Option<String>,
}

impl Document for ClusterApplyDocument {
    fn text(&self, lang: Lang) -> String {
        let mut out = String::new();
        let short =
            |digest: &Option<String>| digest.as_deref().map_or("-".to_owned(), |d| d[..12.min(d.len())].to_owned());
        for host in &self.hosts {
            let words = ["unchanged", "changed", "taken back", "behind", "refused", "FAILED"];
            let [unchanged, changed, taken_back, behind, refused, failed] = column(lang, words.map(Message::from));
            let margin = " ".repeat(unchanged.chars().count() + 3);
            let fate = match host.fate.as_str() {
                "unchanged" => style(unchanged).dim(),
                "changed" => style(changed).green(),
                "taken-back" => style(taken_back).yellow(),
                "behind" => style(behind).red(),
                "refused" => style(refused).red(),
                _ => style(failed).red().bold(),
            };
            let reason = host.reason.as_ref().map_or(String::new(), |reason| format!("  {}", lang.say(reason)));
            line!(out, "{fate} {:<16} {:<16} {}{reason}", host.name, host.vpn_address.to_string(), short(&host.digest));
            for silent in &host.silent {
                let words =
                    format!("no answer from {silent}: UDP is blocked, the endpoint is wrong, or it lacks the key");
                line!(out, "{margin}{}", lang.say(&words));
            }
        }
        if let Some(stopped) = &self.stopped {
            line!(out, "{} {}", style(lang.say("stopped:")).red().bold(), lang.say(stopped));
        }
        let right = self.hosts.iter().filter(|host| host.digest.is_some() && host.digest == self.digest).count();
        let total = format!("{right} of {} hosts have the list {}", self.hosts.len(), short(&self.digest));
        line!(out, "{}", lang.say(&total));
        for next in &self.next {
            line!(out, "  - {}", lang.say(next));
        }
        out
    }
}

/// `cluster status --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClusterStatusDocument {
    /// The version of this document.
    pub schema: u32,
    /// SHA-256 of the list that all should have.
    pub digest: Option<String>,
    /// Each host.
    pub hosts: Vec<HostStatus>,
    /// Each pair of members that was looked at from one side at least.
    pub cells: Vec<Cell>,
    /// What differs: a sentence each.
    pub differences: Vec<String>,
    /// `pass` when nothing differs.
    pub outcome: Outcome,
}

/// How a host stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HostStatus {
    /// What it is called.
    pub name: String,
    /// Its address in the VPN.
    pub vpn_address: Ipv4Addr,
    /// Whether it could be looked at.
    pub seen: bool,
    /// SHA-256 of vpn-public.conf on its disk.
    pub disk: Option<String>,
    /// SHA-256 of the same as the gateway's container sees it.
    pub container: Option<String>,
    /// SHA-256 of the live device's members: keys and addresses, in no order.
    pub live: Option<String>,
    /// What `live` is if the device does what the list on disk says.
    pub live_expected: Option<String>,
    /// How far its clock is ahead of the median, in milliseconds.
    pub clock_offset: Option<i64>,
}

/// One direction of a pair.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Cell {
    /// Who was asked.
    pub from: Ipv4Addr,
    /// About whom.
    pub to: Ipv4Addr,
    /// Seconds since the last handshake.
    pub handshake_age: Option<u64>,
    /// `ok`, `narrow` (small packets get there and large ones don't) or `no-answer`.
    pub verdict: String,
    /// The likely cause of no answer: `blocked`, `wrong-endpoint`, `lacks-key`, `stale-mount`, `no-tunnel`, `clock`, `down`.
    pub cause: Option<String>,
    /// Bytes of the largest packet that gets there and back, where one of the tunnel's own MTU doesn't.
    pub path_mtu: Option<u16>,
}

impl Document for ClusterStatusDocument {
    fn text(&self, lang: Lang) -> String {
        let mut out = String::new();
        self.matrix(&mut out, lang);
        let [disk, container, tunnel, clock] = ["disk", "container", "live", "clock"].map(|word| lang.say(word));
        for host in &self.hosts {
            let short =
                |digest: &Option<String>| digest.as_deref().map_or("-".to_owned(), |d| d[..8.min(d.len())].to_owned());
            let live = if host.live == host.live_expected { short(&host.disk) } else { lang.say("differs") };
            let live = if host.live.is_none() { "-".to_owned() } else { live };
            let offset = host.clock_offset.map_or("-".to_owned(), |ms| format!("{:+.1} s", ms as f64 / 1000.0));
            line!(
                out,
                "{:<16} {:<16} {disk} {:<9} {container} {:<9} {tunnel} {live:<9} {clock} {}",
                host.name,
                host.vpn_address.to_string(),
                short(&host.disk),
                short(&host.container),
                lang.say(&offset)
            );
        }
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

impl Cell {
    /// In a word or two.
    fn text(&self, lang: Lang) -> String {
        match self {
            Cell { verdict, handshake_age, .. } if verdict == "ok" => {
                lang.render(&handshake_age.map_or_else(|| Message::fixed("ok"), super::age))
            }
            Cell { path_mtu: Some(size), .. } => format!("mtu {size}"),
            Cell { cause, .. } => lang.say(cause.as_deref().unwrap_or("NO")),
        }
    }
}

/// More columns than this don't fit on a screen: what is wrong is said below in any case.
const MOST_COLUMNS: usize = 20;

impl ClusterStatusDocument {
    fn matrix(&self, out: &mut String, lang: Lang) {
        if self.hosts.len() > MOST_COLUMNS {
            let bad = self.cells.iter().filter(|cell| cell.verdict != "ok").count();
            let answers = format!("{} of {} pairs answer", self.cells.len() - bad, self.cells.len());
            line!(out, "{}", lang.say(&answers));
            line!(out);
            return;
        }
        let width = self.cells.iter().map(|cell| cell.text(lang).chars().count()).fold(9, usize::max);
        let _ = write!(out, "{:<16}", lang.say("from \\ to"));
        self.hosts.iter().for_each(|host| {
            let _ = write!(out, " {:>width$}", host.name.chars().take(width).collect::<String>());
        });
        line!(out);
        for from in &self.hosts {
            let _ = write!(out, "{:<16}", from.name);
            for to in &self.hosts {
                let cell = self.cells.iter().find(|cell| (cell.from, cell.to) == (from.vpn_address, to.vpn_address));
                let text = cell.map_or_else(|| ".".to_owned(), |cell| cell.text(lang));
                let padded = format!("{text:>width$}");
                let ok = cell.is_none_or(|cell| cell.verdict == "ok");
                let _ = write!(out, " {}", if ok { style(padded) } else { style(padded).red() });
            }
            line!(out);
        }
        line!(out);
    }
}
