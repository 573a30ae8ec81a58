//! Packages that apt installs in one transaction.
//!
//! The law of this kind is about presence: after `set(s)` each package with a version in `s` is installed, in whatever
//! version apt chose, and each without one is gone. An empty version stands for any. An installed package is never
//! upgraded or downgraded.

pub(super) mod apt;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Resource, ResourceKind, State, Verb};
use crate::error::{Error, Result};
use crate::facts::kernel;
use crate::facts::packages::candidates;
use crate::facts::packages::dpkg::{DpkgRecord, PackageStage};
use crate::host::Host;
use crate::lang;
use crate::message;
use crate::message::{Argument, Message};
use apt::{Failed, Transaction};

/// Packages that are installed in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    /// Those that are asked for.
    pub names: Vec<String>,
    /// Their dependencies that are installed with them, known once apt has been asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub brings: Vec<String>,
    /// Those of either list whose configuration files were already there, from an earlier installation. Undo removes such a
    /// package and leaves the files; it purges any other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<String>,
}

/// Versions of packages: `None` for one that isn't completely installed; as a wish, a version means any version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// By name.
    pub packages: BTreeMap<String, Option<String>>,
}

impl State for Versions {
    fn summary(&self) -> Message {
        let missing = self.packages.iter().filter(|(_, version)| version.is_none());
        let missing: Vec<&str> = missing.map(|(name, _)| name.as_str()).collect();
        match missing.is_empty() {
            true => message!("all are installed"),
            false => message!("not installed: {names}", names = missing.join(", ")),
        }
    }

    /// Any version meets any wanted version.
    fn is_met_by(&self, observed: &Versions) -> bool {
        let is_there = |name| observed.packages.get(name).is_some_and(Option::is_some);
        self.packages.iter().all(|(name, version)| version.is_some() == is_there(name))
    }

    fn is_absence(&self) -> bool {
        self.packages.values().all(Option::is_none)
    }
}

impl Resource for Packages {
    type State = Versions;
    const KIND: ResourceKind = ResourceKind::Packages;

    fn noun(&self) -> Message {
        let names = self.names.join(", ");
        let (one, others, count) = (self.names.len() == 1, self.brings.join(", "), self.brings.len());
        match (one, count) {
            (true, 0) => message!("package {names}", names),
            (false, 0) => message!("packages {names}", names),
            (true, 1..=4) => message!("package {name} (with {others})", name = names, others),
            (false, 1..=4) => message!("packages {names} (with {others})", names, others),
            (true, 5..) => message!("package {name} (with {count} packages they need)", name = names, count),
            (false, 5..) => message!("packages {names} (with {count} packages they need)", names, count),
        }
    }

    fn paths(&self) -> Vec<&std::path::Path> {
        Vec::new()
    }

    fn verb(&self, _before: &Versions, _after: &Versions) -> Verb {
        Verb::Install
    }

    fn observe(&self, host: &Host) -> Result<Versions> {
        let record = DpkgRecord::read(host)?;
        let version = |name: &String| (name.clone(), record.version(name).map(str::to_owned));
        Ok(Versions { packages: self.all().map(version).collect() })
    }

    /// Installs those that have a version in `state` and are missing, removes those that have none and are there.
    fn set(&self, host: &mut Host, state: &Versions) -> Result<()> {
        let record = DpkgRecord::read(host)?;
        let wanted = &state.packages;
        let install: Vec<&String> = self
            .all()
            .filter(|name| matches!(wanted.get(*name), Some(Some(_))) && record.version(name).is_none())
            .collect();
        let remove: Vec<&String> = self.to_remove(&record, state).collect();
        if !install.is_empty() {
            self.install(host, &install)?;
        }
        if !remove.is_empty() {
            self.remove(host, &remove)?;
        }
        Ok(())
    }

    fn packages(&self) -> &[String] {
        &self.names
    }

    /// Where apt's lists don't know the packages, what they would bring along stays unknown.
    fn preview(&self, host: &Host) -> Result<Packages> {
        let missing = self.missing(&DpkgRecord::read(host)?);
        if missing.is_empty() || !host.is_live() || !unknown(host, &missing)?.is_empty() {
            return Ok(self.clone());
        }
        self.simulated(host, &missing)
    }

    /// Undo must know dependencies by name. The lists are fetched first where apt doesn't know a package.
    fn expand(&self, host: &mut Host, _after: &Versions) -> Result<(Packages, Versions)> {
        let expanded = self.with_dependencies(host)?;
        let wanted = expanded.wanted();
        Ok((expanded, wanted))
    }

    /// They brought the running kernel, or another package needs them by now.
    fn must_stay(&self, host: &Host, before: &Versions) -> Result<Option<Message>> {
        let running = format!("linux-image-{}", kernel::release());
        if self.all().any(|name| *name == running) {
            return Ok(Some(message!("{kernel} is running", kernel = running)));
        }
        let record = DpkgRecord::read(host)?;
        let gone: Vec<&str> = self.to_remove(&record, before).map(String::as_str).collect();
        if gone.is_empty() { Ok(None) } else { needed_by(host, &gone) }
    }
}

impl Packages {
    /// These packages; what they bring along isn't known yet.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Packages { names: names.into_iter().collect(), brings: Vec::new(), leftovers: Vec::new() }
    }

    /// All installed, in any version.
    pub fn wanted(&self) -> Versions {
        Versions { packages: self.all().map(|name| (name.clone(), Some(String::new()))).collect() }
    }

    /// With every package that will be newly installed, by name.
    pub fn with_dependencies(&self, host: &mut Host) -> Result<Packages> {
        let missing = self.missing(&DpkgRecord::read(host)?);
        if missing.is_empty() {
            return Ok(self.clone());
        }
        if !unknown(host, &missing)?.is_empty() {
            let complaints = apt::update(host)?;
            for complaint in &complaints {
                lang::warn(&message!("apt: {complaint}", complaint));
            }
            let unknown = unknown(host, &missing)?;
            if !unknown.is_empty() {
                let names = unknown.join(", ");
                let error = match complaints.first() {
                    None => message!("apt knows no package {names}", names),
                    Some(words) => message!("apt knows no package {names}: {words}", names, words),
                };
                let command = format!("apt-get update; apt-cache policy {}", unknown.join(" "));
                return Err(Error::unexpected(error).hint(Message::command(command)));
            }
        }
        self.simulated(host, &missing)
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.names.iter().chain(&self.brings)
    }

    fn missing<'a>(&'a self, status: &DpkgRecord) -> Vec<&'a str> {
        self.names.iter().map(String::as_str).filter(|name| status.version(name).is_none()).collect()
    }

    /// Whether removing the package would remove anything.
    fn is_there(&self, status: &DpkgRecord, name: &String) -> bool {
        match status.entry(name).map(|entry| entry.progress) {
            None | Some(PackageStage::NotInstalled) => false,
            Some(PackageStage::ConfigFiles) => !self.leftovers.contains(name),
            Some(_) => true,
        }
    }

    /// Those that have no version in `state` and are there.
    fn to_remove<'a>(&'a self, record: &'a DpkgRecord, state: &'a Versions) -> impl Iterator<Item = &'a String> {
        let goes = |name: &&String| matches!(state.packages.get(*name), Some(None)) && self.is_there(record, name);
        self.all().filter(goes)
    }

    fn simulated(&self, host: &Host, missing: &[&str]) -> Result<Packages> {
        let transaction = apt::simulate_install(host, missing)?;
        self.allow(&transaction)?;
        let status = DpkgRecord::read(host)?;
        let left = |name: &String| status.entry(name).is_some_and(|entry| entry.progress == PackageStage::ConfigFiles);
        let mut brings: BTreeSet<String> = transaction.new.into_keys().collect();
        brings.extend(self.brings.iter().cloned());
        brings.retain(|name| !self.names.contains(name));
        let expanded = Packages { brings: brings.into_iter().collect(), ..self.clone() };
        Ok(Packages { leftovers: expanded.all().filter(|name| left(name)).cloned().collect(), ..expanded })
    }

    /// Refuses a transaction that installs a kernel nobody asked for (FN-15) or removes a package.
    fn allow(&self, transaction: &Transaction) -> Result<()> {
        let asked = self.names.join(", ");
        let hint = || Message::command(format!("apt-get -s --no-install-recommends install {}", self.names.join(" ")));
        if let Some(name) = transaction.removed.first() {
            return Err(Error::unexpected(message!("apt would remove {name} for {asked}", name, asked)).hint(hint()));
        }
        let is_kernel = |name: &String| name.starts_with("linux-image-");
        let asked_for_one = self.names.iter().any(is_kernel);
        let kernel = |name: &&String| is_kernel(name) && !asked_for_one;
        if let Some(name) = transaction.new.keys().find(kernel) {
            let error = message!("apt would install another kernel, {name}, for {asked}", name, asked);
            return Err(Error::unexpected(error).hint(hint()));
        }
        for name in &transaction.upgraded {
            lang::warn(&message!("{asked} needs a newer {name}; undo leaves it", asked = &asked, name));
        }
        Ok(())
    }

    fn install(&self, host: &mut Host, names: &[&String]) -> Result<()> {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        self.still_as_planned(host, &names)?;
        match apt::install(host, &names) {
            Ok(()) => {}
            Err(Failed::ByStaleLists(error)) => {
                lang::info(&message!("{error}; trying again with new lists", error = &error));
                apt::update(host)?;
                self.still_as_planned(host, &names)?;
                apt::install(host, &names)?;
            }
            Err(Failed::Otherwise(error)) => return Err(error),
        }
        // apt may exit with 0 and have failed (FN-11).
        let status = DpkgRecord::read(host)?;
        if let Some(name) = names.iter().find(|name| status.version(name).is_none()) {
            let letters = status.entry(name).map(|entry| Argument::from(&entry.letters));
            let letters = letters.unwrap_or_else(|| message!("not there").into());
            let error = message!("apt says it installed {name}, and dpkg says it is {letters}", name = *name, letters);
            return Err(Error::unexpected(error).hint(Message::command(format!("dpkg --audit; dpkg -l {name}"))));
        }
        let brought: Vec<&str> = names.into_iter().filter(|name| self.brings.iter().any(|b| b == name)).collect();
        if brought.is_empty() { Ok(()) } else { apt::mark_auto(host, &brought) }
    }

    /// The journal has the packages by name. If apt decides otherwise by now, undo would not remove what it adds.
    fn still_as_planned(&self, host: &Host, names: &[&str]) -> Result<()> {
        let transaction = apt::simulate_install(host, names)?;
        self.allow(&transaction)?;
        match transaction.new.keys().find(|name| self.all().all(|known| known != *name)) {
            None => Ok(()),
            Some(name) => {
                let error = message!("apt would now install {name} as well, which wasn't planned", name);
                Err(Error::unexpected(error).hint(message!("run it again: it makes a new plan")))
            }
        }
    }

    fn remove(&self, host: &mut Host, names: &[&String]) -> Result<()> {
        let all: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        if let Some(reason) = needed_by(host, &all)? {
            let error = message!("{names}: {reason}", names = all.join(", "), reason);
            return Err(Error::unexpected(error).hint(Message::command(format!("apt-get -s remove {}", all.join(" ")))));
        }
        let (keep, purge): (Vec<&str>, Vec<&str>) =
            all.into_iter().partition(|name| self.leftovers.iter().any(|left| left == name));
        for (names, purge) in [(keep, false), (purge, true)] {
            if !names.is_empty() {
                apt::remove(host, &names, purge)?;
            }
        }
        let status = DpkgRecord::read(host)?;
        match names.iter().find(|name| self.is_there(&status, name)) {
            None => Ok(()),
            Some(name) => {
                let error = message!("apt says it removed {name}, and dpkg still knows it", name = *name);
                Err(Error::unexpected(error).hint(Message::command(format!("dpkg --audit; dpkg -l {name}"))))
            }
        }
    }
}

/// Why these packages can't be removed by themselves.
fn needed_by(host: &Host, names: &[&str]) -> Result<Option<Message>> {
    let removed = apt::simulate_remove(host, names)?;
    if let Some(other) = removed.removed.iter().find(|name| !names.contains(&name.as_str())) {
        return Ok(Some(message!("{other} needs it by now", other)));
    }
    Ok(removed.new.keys().next().map(|other| message!("apt would replace it by {other}", other)))
}

/// Which of these are in none of apt's lists.
fn unknown<'a>(host: &Host, names: &[&'a str]) -> Result<Vec<&'a str>> {
    let known: BTreeMap<String, String> = candidates(host, names).map_err(|words| {
        Error::unexpected(message!("apt can't read its sources: {words}", words))
            .hint(message!("mend the file it names: apt-get update"))
    })?;
    Ok(names.iter().copied().filter(|name| !known.contains_key(*name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_brought_the_running_kernel_stay() {
        let mut packages = Packages::new(["linux-image-amd64".to_owned()]);
        let host = Host::live();
        let before = Versions { packages: BTreeMap::new() };
        assert_eq!(packages.must_stay(&host, &before).unwrap(), None);
        packages.brings = vec![format!("linux-image-{}", kernel::release())];
        let reason = packages.must_stay(&host, &before).unwrap().unwrap();
        assert!(reason.to_string().ends_with("is running"), "{reason}");
    }

    #[test]
    fn an_unasked_kernel_and_a_lost_package_are_refused() {
        let packages = Packages::new(["wireguard-tools".to_owned()]);
        let kernel =
            |name: &str| Transaction { new: [(name.to_owned(), "1".to_owned())].into(), ..Transaction::default() };
        let error = packages.allow(&kernel("linux-image-6.12-rt-amd64")).unwrap_err();
        assert!(error.to_string().contains("another kernel, linux-image-6.12-rt-amd64"), "{error}");
        packages.allow(&kernel("linux-headers-6.12-rt-amd64")).unwrap();
        Packages::new(["linux-image-amd64".to_owned()]).allow(&kernel("linux-image-4.19.0-27-amd64")).unwrap();
        let loss = Transaction { removed: ["docker.io".to_owned()].into(), ..Transaction::default() };
        assert!(packages.allow(&loss).unwrap_err().to_string().contains("would remove docker.io"));
    }

    #[test]
    fn a_journal_of_names_alone_is_still_read() {
        let packages: Packages = serde_json::from_str(r#"{"names":["wireguard-tools"]}"#).unwrap();
        assert_eq!(packages, Packages::new(["wireguard-tools".to_owned()]));
        assert_eq!(serde_json::to_string(&packages).unwrap(), r#"{"names":["wireguard-tools"]}"#);
    }

    #[test]
    fn a_half_configured_package_counts_as_missing_and_as_there() {
        let dir = tempfile::tempdir().unwrap();
        let dpkg = dir.path().join("var/lib/dpkg");
        std::fs::create_dir_all(&dpkg).unwrap();
        let record = "Package: a\nStatus: install ok half-configured\nVersion: 1\n\n\
                      Package: b\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                      Package: c\nStatus: install ok installed\nVersion: 2\n";
        std::fs::write(dpkg.join("status"), record).unwrap();
        let host = Host::at(dir.path()).unwrap();
        let mut packages = Packages::new(["a", "b", "c", "d"].map(str::to_owned));
        let seen = packages.observe(&host).unwrap();
        let versions: Vec<_> = seen.packages.values().map(Option::as_deref).collect();
        assert_eq!(versions, [None, None, Some("2"), None]);
        let status = DpkgRecord::read(&host).unwrap();
        let there = |p: &Packages| p.names.iter().map(|n| p.is_there(&status, n)).collect::<Vec<_>>();
        assert_eq!(there(&packages), [true, true, true, false]);
        packages.leftovers = vec!["b".to_owned()];
        assert_eq!(there(&packages), [true, false, true, false]);
    }
}
