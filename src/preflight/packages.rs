//! Checks of: apt and dpkg. They are strict only where something has to be installed.

use super::{Check, Inputs, Judgement, Needs, Part, explained, id};
use crate::distro::{AptFeature, Distro, Suite};
use crate::facts::ListedSuite;
use crate::host::LockHolder;
use crate::message;
use crate::message::Message;
use crate::policy;

const UPDATE: &str = "apt-get update";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: id::DPKG_LOCK,
        title: "nobody else is installing packages",
        note: Some("FN-20"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Packages, Part::Kernel],
        run: dpkg_lock,
        explain: "\
apt and dpkg lock their files while they work; unattended-upgrades and cloud-init do that on their own, often right
after boot. Install waits for the lock, says who holds it, and gives up after ten minutes. It never stops the holder:
that would leave packages half installed.

To wait beforehand: `apt-get -o DPkg::Lock::Timeout=600 check`. Debian 10's apt knows no such option and fails at once;
there, look again with `ps -p PID` until that process is gone.",
    },
    Check {
        id: id::DPKG_HEALTHY,
        title: "dpkg has no half-done work",
        note: Some("FN-13"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Packages, Part::Kernel],
        run: dpkg_healthy,
        explain: "\
Every run of apt first finishes what earlier runs left half done, and fails if that fails, whatever it was asked for. So
repair half-installed and half-configured packages first: `dpkg --audit` lists them, `dpkg --configure -a` finishes
them, `apt-get install --reinstall NAME` repairs one that was interrupted while unpacking. Where dpkg itself was
interrupted, by a power cut for example, start with `dpkg --configure -a`. Install does that for its own packages.

Debian 10: wireguard-dkms stays half configured (iF) when its build failed, usually because kernel headers are missing.
That is a warning: install brings the headers and configures it again. The reason of a failed build is in
/var/lib/dkms/wireguard/*/build/make.log.",
    },
    Check {
        id: id::APT_SOURCES,
        title: "apt can get the packages",
        note: Some("FN-11"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Packages, Part::Kernel],
        run: apt_sources,
        explain: "\
The packages that are missing must come from somewhere: apt has to be able to read its sources, and to know the packages
after install has fetched the lists (it does that only if a package is unknown). `apt-get update` succeeds even when a
mirror is dead, so its exit code proves nothing; `apt-cache policy wireguard-tools` shows what apt really knows.

Debian 10: wireguard-tools and wireguard-dkms are in buster-backports. Install adds that suite in a file of its own:
from the host's own mirror if that still has it, else from Debian's archive, together with what else of the release
went there. Where neither is in reach: `mitigator-vpn install --apt-mirror URL`, with a mirror that has it.
Debian 11: bullseye-backports has been removed, and `apt-get update` reports it as an error; nothing here needs it:
`grep -rn bullseye-backports /etc/apt/`, then take that line out.
Elsewhere the release's own main archive has all that is needed: `apt-get update` says what keeps apt from it.",
    },
];

/// The command that installs packages here: without lists apt knows none.
pub(super) fn apt_install(inputs: &Inputs, packages: &str) -> String {
    let install = format!("apt-get install {packages}");
    if inputs.facts.packages.lists_age.is_none() { format!("{UPDATE} && {install}") } else { install }
}

/// What install would install, and the release that says so; `None` for a release nobody knows.
fn missing<'a>(inputs: &Inputs<'a>) -> Option<(&'a Distro, Vec<String>)> {
    let distro = inputs.distro.ok()?;
    Some((distro, policy::missing_packages(inputs.facts, distro, inputs.settings)))
}

fn dpkg_lock(inputs: &Inputs) -> Judgement {
    let Some(holder) = &inputs.facts.packages.lock_holder else {
        return Judgement::pass(message!("apt and dpkg are not locked"));
    };
    let release = missing(inputs);
    if release.as_ref().is_some_and(|(_, missing)| missing.is_empty()) {
        let detail = message!("locked by {holder}; nothing has to be installed", holder);
        return Judgement::pass(detail);
    }
    let waits = release.is_none_or(|(distro, _)| !distro.apt_lacks.contains(&AptFeature::LockTimeout));
    let hint = match holder {
        LockHolder::Process(process) if !waits => format!("ps -p {}", process.pid),
        LockHolder::Process(_) | LockHolder::OutOfSight => "apt-get -o DPkg::Lock::Timeout=600 check".to_owned(),
    };
    Judgement::warn(message!("locked by {holder}; install waits for it", holder), Message::command(hint))
}

fn dpkg_healthy(inputs: &Inputs) -> Judgement {
    let packages = &inputs.facts.packages;
    let nothing_to_do = missing(inputs).is_some_and(|(_, missing)| missing.is_empty());
    if !packages.apt {
        return if nothing_to_do {
            Judgement::pass(message!("no apt here; nothing has to be installed"))
        } else {
            let hint = Message::command("command -v apt-get dpkg");
            Judgement::fail(message!("apt-get or dpkg is missing here"), hint)
        };
    }
    if packages.broken.is_empty() && !packages.interrupted {
        return Judgement::pass(message!("no package is half installed"));
    }
    let list: Vec<String> = packages.broken.iter().map(|(name, letters)| format!("{name} ({letters})")).collect();
    let names = list.join(", ");
    let detail = match (packages.interrupted, list.is_empty()) {
        (false, _) => message!("half installed: {names}", names),
        (true, true) => message!("dpkg was interrupted"),
        (true, false) => message!("dpkg was interrupted; half installed: {names}", names),
    };
    // Those install asks for are configured again by that, and what dpkg was cut off from is finished first.
    let finishes = packages.broken.keys().all(|name| packages.known.contains_key(name));
    if finishes && !(nothing_to_do && packages.interrupted) {
        return Judgement::warn(message!("{detail}; install finishes it", detail), Message::command("dpkg --audit"));
    }
    let torn: Vec<&str> = packages
        .broken
        .iter()
        .filter(|(_, letters)| letters.contains('H') || letters.contains('R'))
        .map(|(name, _)| name.as_str())
        .collect();
    // apt does nothing before that.
    let hint = if torn.is_empty() || packages.interrupted {
        "dpkg --configure -a".to_owned()
    } else {
        format!("apt-get install --reinstall {}", torn.join(" "))
    };
    let judgement = if nothing_to_do { Judgement::warn } else { Judgement::fail };
    judgement(detail, Message::command(hint))
}

fn apt_sources(inputs: &Inputs) -> Judgement {
    let packages = &inputs.facts.packages;
    let Some((distro, missing)) = missing(inputs) else {
        return Judgement::unknown(message!("which packages are needed depends on the release"));
    };
    if missing.is_empty() {
        return Judgement::pass(message!("nothing has to be installed"));
    }
    let sources = match &packages.sources {
        Ok(sources) => sources,
        Err(words) => {
            return Judgement::fail(
                message!("apt can't read its sources: {words}", words),
                message!("correct the file that it names, then: {command}", command = UPDATE),
            );
        }
    };
    let unknown: Vec<&str> = missing.iter().filter(|n| !packages.obtainable(n)).map(String::as_str).collect();
    if unknown.is_empty() {
        return match sources.iter().find(|source| !source.fetched) {
            Some(ListedSuite { uri, suite, .. }) => Judgement::warn(
                message!("apt has no package lists of {uri} {suite}; the mirror may be gone", uri, suite),
                Message::command(UPDATE),
            ),
            None => Judgement::pass(message!("apt has {names}", names = missing.join(", "))),
        };
    }
    let names = unknown.join(", ");
    if let Some(suite) = distro.suite.as_ref().filter(|_| policy::lacks_suite(packages, distro)) {
        return added_suite(inputs, names, suite);
    }
    if sources.is_empty() {
        return Judgement::fail(
            message!("apt has no sources, so {names} can't be installed", names),
            message!(
                "add an archive of {release} to /etc/apt/sources.list, then: {command}",
                release = &distro.name,
                command = UPDATE
            ),
        );
    }
    if packages.lists_age.is_none() {
        return Judgement::pass(message!("apt has no package lists yet; install fetches them"));
    }
    Judgement::warn(
        message!("apt doesn't know {names}; install fetches the package lists and looks again", names),
        Message::command(format!("{UPDATE}; apt-cache policy {}", unknown.join(" "))),
    )
}

/// Where install gets a suite that the release needs and the host's sources lack.
fn added_suite(inputs: &Inputs, names: String, suite: &Suite) -> Judgement {
    let packages = &inputs.facts.packages;
    let places: Vec<&str> = match &inputs.settings.apt_mirror {
        Some(named) => vec![named],
        None => packages.mirror.iter().chain(&suite.archive).map(String::as_str).collect(),
    };
    let suite = &suite.name;
    let detail = match places[..] {
        [] => {
            return Judgement::fail(
                message!("apt doesn't know {names}; {suite} has it, and no mirror is known", names, suite),
                Message::command(inputs.settings.first_install("--apt-mirror URL")),
            );
        }
        [place] => message!("apt doesn't know {names}; install adds {suite} from {place}", names, suite, place),
        [place, other, ..] => message!(
            "apt doesn't know {names}; install adds {suite} from {place}, else from {other}",
            names,
            suite,
            place,
            other
        ),
    };
    Judgement::warn(detail, explained(id::APT_SOURCES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distro::OsRelease;
    use crate::facts::{Facts, Package, WireGuardSupport};
    use crate::host::Process;
    use crate::preflight::Severity::{Fail, Pass, Unknown, Warn};
    use crate::preflight::tests::{outcome, outcome_with};
    use crate::settings::Settings;

    fn complete() -> Facts {
        let mut facts = Facts::healthy();
        facts.packages.known.insert("wireguard-tools".into(), Package { installed: Some("1".into()), candidate: None });
        facts
    }

    fn buster(mut facts: Facts) -> Facts {
        facts.os = OsRelease { id: "debian".into(), version_id: "10".into(), ..OsRelease::default() };
        facts
    }

    #[test]
    fn a_healthy_host_passes_every_row() {
        for check in CHECKS {
            assert_eq!(outcome(check.id, &Facts::healthy()).0, Pass, "{}", check.id);
            assert_eq!(outcome(check.id, &complete()).0, Pass, "{}", check.id);
        }
    }

    #[test]
    fn a_held_lock_warns_with_its_holder_where_something_has_to_be_installed() {
        let holder = |mut facts: Facts| {
            facts.packages.lock_holder =
                Some(LockHolder::Process(Process { name: "unattended-upgr".to_owned(), pid: 812 }));
            facts
        };
        let (severity, text) = outcome("dpkg-lock", &holder(Facts::healthy()));
        assert!(severity == Warn && text.contains("unattended-upgr (pid 812)"), "{text}");
        assert!(text.contains("DPkg::Lock::Timeout=600"), "{text}");
        assert!(outcome("dpkg-lock", &holder(buster(Facts::healthy()))).1.contains("ps -p 812"));
        assert_eq!(outcome("dpkg-lock", &holder(complete())).0, Pass);
    }

    #[test]
    fn half_done_work_of_others_fails_and_our_own_warns() {
        let broken = |mut facts: Facts, name: &str, letters: &str| {
            facts.packages.broken.insert(name.into(), letters.into());
            facts
        };
        let (severity, text) = outcome("dpkg-healthy", &broken(Facts::healthy(), "mysql-server", "iF"));
        assert!(severity == Fail && text.contains("dpkg --configure -a"), "{text}");
        let (_, text) = outcome("dpkg-healthy", &broken(Facts::healthy(), "mysql-server", "iHR"));
        assert!(text.contains("apt-get install --reinstall mysql-server"), "{text}");
        assert_eq!(outcome("dpkg-healthy", &broken(complete(), "mysql-server", "iF")).0, Warn);
        assert_eq!(outcome("dpkg-healthy", &broken(Facts::healthy(), "wireguard-tools", "iF")).0, Warn);
    }

    #[test]
    fn a_cut_off_dpkg_is_finished_unless_it_left_others_half_done_and_without_apt_nothing_is() {
        let mut facts = Facts::healthy();
        facts.packages.interrupted = true;
        facts.packages.broken.insert("wireguard-tools".into(), "iU".into());
        let (severity, text) = outcome("dpkg-healthy", &facts);
        assert!(severity == Warn && text.contains("interrupted") && text.contains("install finishes it"), "{text}");
        facts.packages.broken.insert("mysql-server".into(), "iU".into());
        let (severity, text) = outcome("dpkg-healthy", &facts);
        assert!(severity == Fail && text.contains("dpkg --configure -a"), "{text}");
        let mut facts = complete();
        facts.packages.interrupted = true;
        let (severity, text) = outcome("dpkg-healthy", &facts);
        assert!(severity == Warn && text.contains("dpkg --configure -a"), "nothing has to be installed: {text}");
        let mut facts = Facts::healthy();
        facts.packages.apt = false;
        assert_eq!(outcome("dpkg-healthy", &facts).0, Fail);
        let mut facts = complete();
        facts.packages.apt = false;
        assert_eq!(outcome("dpkg-healthy", &facts).0, Pass);
    }

    #[test]
    fn sources_that_cant_be_read_or_arent_there_fail_unless_nothing_is_missing() {
        let mut facts = Facts::healthy();
        facts.packages.sources = Err(Message::foreign("Malformed entry 1 in list file /etc/apt/sources.list (Suite)"));
        let (severity, text) = outcome("apt-sources", &facts);
        assert!(severity == Fail && text.contains("Malformed entry 1"), "{text}");

        let mut facts = Facts::healthy();
        facts.packages.sources = Ok(Vec::new());
        facts.packages.known.clear();
        assert_eq!(outcome("apt-sources", &facts).0, Fail);

        let mut facts = complete();
        facts.packages.sources = Ok(Vec::new());
        assert_eq!(outcome("apt-sources", &facts).0, Pass);
    }

    #[test]
    fn a_host_that_never_fetched_lists_passes_and_an_unknown_package_warns() {
        let mut facts = Facts::healthy();
        facts.packages.known.clear();
        assert_eq!(outcome("apt-sources", &facts).0, Warn);
        facts.packages.lists_age = None;
        assert_eq!(outcome("apt-sources", &facts).0, Pass);
    }

    #[test]
    fn a_source_without_lists_is_named() {
        let mut facts = Facts::healthy();
        let dead = ListedSuite { uri: "http://mirror.example/debian".into(), suite: "dead".into(), fetched: false };
        facts.packages.sources.as_mut().unwrap().push(dead);
        let (severity, text) = outcome("apt-sources", &facts);
        assert!(severity == Warn && text.contains("mirror.example/debian dead"), "{text}");
    }

    #[test]
    fn debian_10_says_where_backports_will_come_from() {
        let mut facts = buster(Facts::healthy());
        facts.packages.known.clear();
        facts.kernel.wireguard = WireGuardSupport::Missing;
        let (severity, text) = outcome("apt-sources", &facts);
        assert!(
            severity == Warn
                && text.contains(
                    "install adds buster-backports from http://mirror.example/debian, else from http://archive."
                ),
            "{text}"
        );
        facts.packages.mirror = None;
        let (severity, text) = outcome("apt-sources", &facts);
        assert!(severity == Warn && text.contains("install adds buster-backports from http://archive."), "{text}");
        let settings = Settings { apt_mirror: Some("http://inside.example/debian".into()), ..Settings::default() };
        assert_eq!(outcome_with("apt-sources", &facts, &settings).0, Warn);
    }

    #[test]
    fn an_unsupported_release_leaves_the_packages_unknown() {
        let mut facts = Facts::healthy();
        facts.os = OsRelease::default();
        assert_eq!(outcome("apt-sources", &facts).0, Unknown);
    }
}
