//! Calls of apt without a person: it must not ask, its warnings must be read, and an exit code of 0 proves little (FN-11).
//! So every change is simulated first, waits for dpkg's lock, and is checked against dpkg's record afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::facts::packages::dpkg::DpkgRecord;
use crate::facts::packages::{ASKING, cacheless, lock_holder};
use crate::host::{Advance, Cmd, Host, Output};
use crate::lang;
use crate::message;
use crate::message::Message;
use crate::resource::dkms::{self, MakeLog};

/// How long to wait for another program's installation to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// On a slow machine dkms compiles for minutes. The deadline is for a command that hangs.
const DEADLINE: Duration = Duration::from_secs(1800);

/// What a run of apt would do, by its simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transaction {
    /// Packages that are installed, with their versions.
    pub(crate) new: BTreeMap<String, String>,
    /// Installed packages that get another version.
    pub(crate) upgraded: BTreeSet<String>,
    /// Packages that are removed.
    pub(crate) removed: BTreeSet<String>,
}

/// Simulates installing these.
pub(crate) fn simulate_install(host: &Host, names: &[&str]) -> Result<Transaction> {
    simulate(host, &["--no-install-recommends", "install"], names)
}

/// Simulates removing these.
pub(crate) fn simulate_remove(host: &Host, names: &[&str]) -> Result<Transaction> {
    simulate(host, &["-o", "APT::Get::AutomaticRemove=false", "remove"], names)
}

fn simulate(host: &Host, verb: &[&str], names: &[&str]) -> Result<Transaction> {
    // Even a simulation writes a planner log unless its name is empty.
    let cmd = Cmd::new("apt-get").args(["-s", "-q", "-o", "Dir::Log::Planner="]).args(cacheless(host).iter().copied());
    let cmd = cmd.args(verb.iter().copied()).args(names.iter().copied()).deadline(ASKING);
    let said = host.query(&cmd)?;
    if said.ok() {
        return Ok(transaction(&said.stdout));
    }
    let failure = failure(&said, None);
    let verb = verb[verb.len() - 1];
    let command = failure.command.unwrap_or_else(|| format!("apt-get -s {verb} {}", names.join(" ")));
    let error = message!("apt can't {verb} {names}: {words}", verb, names = names.join(", "), words = failure.cause);
    Err(Error::unexpected(error).hint(Message::command(command)))
}

fn transaction(simulation: &str) -> Transaction {
    let mut transaction = Transaction::default();
    for line in simulation.lines() {
        let mut words = line.split_whitespace();
        let (Some(what), Some(name), version) = (words.next(), words.next(), words.next()) else { continue };
        let name = name.to_owned();
        match (what, version.unwrap_or_default().strip_prefix('(')) {
            ("Inst", Some(version)) => {
                transaction.new.insert(name, version.to_owned());
            }
            ("Inst", None) => {
                transaction.upgraded.insert(name);
            }
            ("Remv" | "Purg", _) => {
                transaction.removed.insert(name);
            }
            _ => {}
        }
    }
    transaction
}

/// Waits until no other program installs packages (FN-20).
pub(crate) fn wait_for_turn(host: &Host, patience: Duration) -> Result<()> {
    let start = Instant::now();
    let mut said = None;
    while let Some(holder) = lock_holder(host)? {
        if said.as_ref() != Some(&holder) {
            lang::info(&message!("waiting for {holder}, which is installing packages", holder = &holder));
            said = Some(holder.clone());
        }
        if start.elapsed() >= patience {
            let seconds = patience.as_secs();
            let error = message!(
                "{holder} has been installing packages for {seconds} s and holds dpkg's lock",
                holder = &holder,
                seconds
            );
            let hint = message!("wait for it to end, then run it again; see: {command}", command = "ps -ef");
            return Err(Error::unexpected(error).hint(hint));
        }
        sleep(Duration::from_millis(250));
    }
    Ok(())
}

/// Fetches the package lists and returns apt's complaints. apt exits with 0 if a mirror is down and with 100 if one of
/// several sources is, so its exit code doesn't count: what counts is whether the packages are known afterwards.
pub(crate) fn update(host: &mut Host) -> Result<Vec<String>> {
    fetch_lists(host, &[])
}

/// As [`update`], for the sources in one file alone: other sources that are down don't matter, and their lists stay.
pub(crate) fn update_from(host: &mut Host, list: &Path) -> Result<Vec<String>> {
    let only = format!("Dir::Etc::sourcelist={}", list.display());
    fetch_lists(host, &[&only, "Dir::Etc::sourceparts=-", "APT::Get::List-Cleanup=0"])
}

fn fetch_lists(host: &mut Host, options: &[&str]) -> Result<Vec<String>> {
    wait_for_turn(host, PATIENCE)?;
    lang::info(&message!("fetching package lists"));
    let limits = ["Acquire::Retries=1", "Acquire::http::Timeout=20", "Acquire::https::Timeout=20"];
    let options = limits.iter().chain(options).flat_map(|option| ["-o", option]);
    let said = host.run(&apt_get().args(options).arg("update").deadline(DEADLINE))?;
    Ok(complaints(&said.stderr))
}

/// apt's warnings and errors, each once, without summaries and those that a missing /dev/pts causes.
fn complaints(stderr: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in stderr.lines() {
        let Some(words) = line.strip_prefix("E: ").or_else(|| line.strip_prefix("W: ")) else { continue };
        let beside = ["Some index files failed", "Can not write log"].iter().any(|start| words.starts_with(start));
        if !beside && found.iter().all(|known| known != words) {
            found.push(words.to_owned());
        }
    }
    found
}

/// A change of packages that failed.
pub(crate) enum Failed {
    /// apt's lists name files that the mirror has replaced since: new lists help.
    ByStaleLists(Error),
    /// For any other reason.
    Otherwise(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Otherwise(error)
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::ByStaleLists(error) | Failed::Otherwise(error) => error,
        }
    }
}

/// Installs these packages. `apt-get` is told to remove nothing.
pub(crate) fn install(host: &mut Host, names: &[&str]) -> Result<(), Failed> {
    change(host, &["-y", "--no-install-recommends", "--no-remove", "install"], names)
}

/// Removes these, with their configuration if `purge`.
pub(crate) fn remove(host: &mut Host, names: &[&str], purge: bool) -> Result<()> {
    let verb = if purge { "purge" } else { "remove" };
    Ok(change(host, &["-y", "-o", "APT::Get::AutomaticRemove=false", verb], names)?)
}

/// Marks packages as dependencies, so that `apt autoremove` handles them as such.
pub(crate) fn mark_auto(host: &mut Host, names: &[&str]) -> Result<()> {
    host.run(&Cmd::new("apt-mark").arg("auto").args(names.iter().copied()))?.success("apt-mark auto").map(drop)
}

fn change(host: &mut Host, verb: &[&str], names: &[&str]) -> Result<(), Failed> {
    wait_for_turn(host, PATIENCE)?;
    if DpkgRecord::read(host)?.interrupted {
        lang::info(&message!("finishing what dpkg was cut off from"));
        let said =
            host.run(&quiet(Cmd::new("dpkg")).args(["--force-confold", "--configure", "-a"]).deadline(DEADLINE))?;
        judge(host, &said, "dpkg --configure -a", names)?;
    }
    let what = format!("apt-get {} {}", verb[verb.len() - 1], names.join(" "));
    lang::info(&Message::command(&what));
    let cmd = apt_get().args(verb.iter().copied()).args(names.iter().copied());
    let said = host.run(&cmd.deadline(DEADLINE))?;
    judge(host, &said, &what, names)
}

/// `apt-get` that asks nothing, restarts nothing and keeps configuration files as they are (FN-21).
fn apt_get() -> Cmd {
    // Between our wait and apt's start another program may take the lock; newer versions of apt wait for it themselves.
    let options = ["DPkg::Lock::Timeout=120", "Dpkg::Options::=--force-confold"];
    let descriptor = |fd| vec!["-o".to_owned(), format!("APT::Status-Fd={fd}")];
    quiet(Cmd::new("apt-get"))
        .arg("-q")
        .args(options.iter().flat_map(|option| ["-o", option]))
        .reporting(descriptor, advance)
}

/// A line of apt's status descriptor: `dlstatus:1:42.5:Retrieving file 1 of 2`, `pmstatus:dkms:60:Configuring dkms`.
fn advance(line: &str) -> Option<Advance> {
    let mut fields = line.splitn(4, ':');
    let known = ["dlstatus", "pmstatus"].contains(&fields.next()?);
    let (_, percent, doing) = (fields.next()?, fields.next()?, fields.next()?);
    // The description may contain anything.
    let doing: String = doing.chars().filter(|c| !c.is_control()).collect();
    known.then_some(Advance { percent: percent.parse().ok()?, doing })
}

fn quiet(cmd: Cmd) -> Cmd {
    // needrestart ignores DEBIAN_FRONTEND and may restart dockerd.
    cmd.env("DEBIAN_FRONTEND", "noninteractive").env("NEEDRESTART_SUSPEND", "1").env("UCF_FORCE_CONFFOLD", "1")
}

/// The error of a failed run, with one cause and a way out.
fn judge(host: &Host, said: &Output, what: &str, names: &[&str]) -> Result<(), Failed> {
    if said.ok() {
        return Ok(());
    }
    let Failure { cause, command, by_stale_lists } = failure(said, MakeLog::of(host, said).as_ref());
    let record = DpkgRecord::read(host).unwrap_or_default();
    let half: Vec<String> = record
        .broken()
        .filter(|entry| names.contains(&entry.name.as_str()))
        .map(|entry| format!("{} ({})", entry.name, entry.letters))
        .collect();
    let failed = message!("{left}: {right}", left = what, right = cause);
    let message = match half.is_empty() {
        true => failed,
        false => {
            let second = message!("half installed: {names}", names = half.join(", "));
            message!("{first}; {second}", first = failed, second)
        }
    };
    let error = Error::unexpected(message).hint(match command {
        Some(command) => Message::command(command),
        None => message!("{command} (to see it all); dpkg --audit", command = what),
    });
    Err(if by_stale_lists { Failed::ByStaleLists(error) } else { Failed::Otherwise(error) })
}

/// Why a run failed, and the remedy if it is known.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    cause: Message,
    command: Option<String>,
    by_stale_lists: bool,
}

fn failure(said: &Output, make_log: Option<&MakeLog>) -> Failure {
    let lines = || said.stderr.lines().chain(said.stdout.lines()).map(str::trim);
    let mentions = |words: &str| lines().find(|line| line.contains(words));
    let known = |cause, command: String| Failure { cause, command: Some(command), by_stale_lists: false };
    if mentions("No space left on device").is_some() {
        return known(message!("there is no space left"), "df -h /var /usr /boot".to_owned());
    }
    if let Some(dkms::Failure { cause, command }) = dkms::failure(said, make_log) {
        return known(cause, command);
    }
    if let Some(package) = lines().find_map(|line| word_after(line, "dpkg: error processing package ")) {
        let script = lines().find(|line| line.contains("script subprocess") || line.contains("script returned"));
        let cause = match script {
            Some(script) => Message::foreign(script),
            None => message!("{package} can't be configured", package),
        };
        return known(cause, format!("dpkg --configure {package}"));
    }
    if mentions("dpkg was interrupted").is_some() {
        return known(message!("dpkg was cut off in the middle of its work"), "dpkg --configure -a".to_owned());
    }
    let complaint = complaints(&said.stderr);
    let fetch = complaint.iter().find(|words| words.starts_with("Failed to fetch"));
    let last = lines().rfind(|line| !line.is_empty());
    let words = fetch.or(complaint.first()).map(String::as_str).or(last);
    let is_of_fetching = |words: &str| words.contains("Failed to fetch") || words.contains("Unable to fetch");
    Failure {
        cause: words.map_or_else(|| message!("it gave no reason"), Message::foreign),
        command: None,
        by_stale_lists: words.is_some_and(is_of_fetching),
    }
}

fn word_after<'a>(line: &'a str, words: &str) -> Option<&'a str> {
    line.split_once(words)?.1.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(stdout: &str, stderr: &str) -> Output {
        Output { code: Some(100), stdout: stdout.into(), stderr: stderr.into() }
    }

    #[test]
    fn a_simulation_tells_new_from_upgraded_from_removed() {
        let said = "NOTE: This is only a simulation!\nReading package lists...\n\
                    The following NEW packages will be installed:\n  dkms wireguard-dkms\n\
                    Remv mawk [1.3.4]\nPurg old [1]\n\
                    Inst libc6 [2.28-10] (2.28-10+deb10u1 Debian:10.13/oldoldstable [amd64])\n\
                    Inst dkms (2.6.1-4 Debian:10.13/oldoldstable [all])\n\
                    Inst wireguard-dkms (1.0~bpo10+1 Debian Backports:buster-backports [all]) []\n\
                    Conf dkms (2.6.1-4 Debian:10.13/oldoldstable [all])\n";
        let transaction = transaction(said);
        let new: Vec<_> = transaction.new.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(new, ["dkms=2.6.1-4", "wireguard-dkms=1.0~bpo10+1"]);
        assert!(transaction.upgraded.iter().eq(["libc6"]) && transaction.removed.iter().eq(["mawk", "old"]));
    }

    #[test]
    fn apts_status_lines_say_how_far_it_has_come() {
        let advanced = |percent, doing: &str| Some(Advance { percent, doing: doing.to_owned() });
        assert_eq!(
            advance("dlstatus:1:42.8571:Retrieving file 1 of 2 (3s remaining)"),
            advanced(42.8571, "Retrieving file 1 of 2 (3s remaining)")
        );
        assert_eq!(advance("pmstatus:dkms:60.0000:Installed dkms (amd64)"), advanced(60.0, "Installed dkms (amd64)"));
        for other in [
            "",
            "pmerror:/x.deb:60:cannot access archive",
            "pmstatus:dkms",
            "pmstatus:dkms:much:x",
            "pmconffile:/etc/x:5:y",
        ] {
            assert_eq!(advance(other), None, "{other}");
        }
    }

    #[test]
    fn complaints_are_apts_own_words_each_once() {
        let stderr = "W: Failed to fetch http://mirror.example/debian/dists/x/InRelease  Connection refused\n\
                      W: Failed to fetch http://mirror.example/debian/dists/x/InRelease  Connection refused\n\
                      E: Can not write log (Is /dev/pts mounted?) - posix_openpt (19: No such device)\n\
                      W: Some index files failed to download. They have been ignored, or old ones used instead.\n";
        assert_eq!(
            complaints(stderr),
            ["Failed to fetch http://mirror.example/debian/dists/x/InRelease  Connection refused"]
        );
    }

    #[test]
    fn a_failure_names_one_cause() {
        let headers = "Error! Your kernel headers for kernel 4.19.0-21-amd64 cannot be found at\n\
                       /lib/modules/4.19.0-21-amd64/build or /lib/modules/4.19.0-21-amd64/source.\n\
                       dpkg: error processing package wireguard-dkms (--configure):\n";
        let found = failure(&output(headers, "E: Sub-process /usr/bin/dpkg returned an error code (1)"), None);
        assert_eq!(
            found.cause.to_string(),
            "dkms can't build the module: the headers of kernel 4.19.0-21-amd64 are missing"
        );
        let script = "dpkg: error processing package mysql-server (--configure):\n \
                      installed mysql-server package post-installation script subprocess returned error exit status 1\n";
        let found = failure(&output("", script), None);
        assert!(
            found.cause.to_string().starts_with("installed mysql-server package post-installation script"),
            "{found:?}"
        );
        assert_eq!(found.command.as_deref(), Some("dpkg --configure mysql-server"));

        let gone = "E: Failed to fetch http://mirror.example/debian/x.deb  404  Not Found\n\
                    E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?\n";
        let found = failure(&output("", gone), None);
        assert!(found.cause.to_string().contains("x.deb  404") && found.by_stale_lists, "{found:?}");
        let found = failure(&output("last words\n", ""), None);
        assert!(found.cause == Message::foreign("last words") && !found.by_stale_lists, "{found:?}");
    }
}
