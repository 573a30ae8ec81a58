//! Which apt source has to be added.

use std::path::PathBuf;

use crate::distro::Distro;
use crate::facts::Facts;
use crate::policy;
use crate::resource::AptSource;
use crate::settings::Settings;

/// The source to add: a package is missing, apt doesn't know it, and the release's data names a suite that has it.
pub(super) fn apt_source(facts: &Facts, distro: &Distro, settings: &Settings) -> Option<AptSource> {
    let suite = distro.suite.as_ref()?;
    let known = |name: &String| facts.packages.obtainable(name);
    if !policy::lacks_suite(&facts.packages, distro)
        || policy::missing_packages(facts, distro, settings).iter().all(known)
    {
        return None;
    }
    // A mirror that was named is the only one: an air-gapped site can't reach others.
    let (mirror, archive) = match &settings.apt_mirror {
        Some(named) => (Some(named.clone()), None),
        None => (facts.packages.mirror.clone(), suite.archive.clone()),
    };
    let has = |from: &String| {
        let mut sources = facts.packages.sources.iter().flatten();
        sources.any(|source| format!("{} {}", source.uri.trim_end_matches('/'), source.suite) == *from)
    };
    let base = archive.iter().map(|archive| format!("{archive} {}", distro.codename));
    let security = suite.archive_security.clone().filter(|_| archive.is_some());
    let beside = base.chain(security).filter(|from| !has(from)).collect();
    Some(AptSource { path: PathBuf::from(&suite.list), suite: suite.name.clone(), beside, mirror, archive })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{ListedSuite, WireGuardSupport};

    #[test]
    fn a_suite_that_the_host_has_from_the_archive_is_not_named_twice() {
        let mut facts = Facts::healthy();
        facts.os = crate::facts::os::parse("ID=debian\nVERSION_ID=10\nVERSION_CODENAME=buster\n");
        facts.kernel.wireguard = WireGuardSupport::Missing;
        facts.packages.known.clear();
        let distro = Distro::detect(&facts.os).unwrap();
        let wanted = |facts: &Facts| apt_source(facts, &distro, &Settings::default()).unwrap();
        assert_eq!(wanted(&facts).beside.len(), 2);
        let uri = format!("{}/", wanted(&facts).archive.unwrap());
        facts.packages.sources = Ok(vec![ListedSuite { uri, suite: "buster".into(), fetched: true }]);
        assert_eq!(wanted(&facts).beside, ["http://archive.debian.org/debian-security buster/updates"]);
    }
}
