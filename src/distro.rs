//! A release as data: packages, suite, end of support. What is done with them is decided elsewhere.
//!
//! Each file of `distros/` is one release, or what the releases of a family share. A new release of a known family is
//! one new file and its line in `FILES` below.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::message;
use crate::message::Message;

/// What os-release says of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OsRelease {
    /// `ID`, lower case: `debian`.
    pub id: String,
    /// `ID_LIKE`, split at spaces.
    pub id_like: Vec<String>,
    /// `VERSION_ID`; empty on rolling releases.
    pub version_id: String,
    /// `VERSION_CODENAME`.
    pub codename: String,
    /// `UBUNTU_CODENAME` or `DEBIAN_CODENAME` of a derivative.
    pub parent_codename: Option<String>,
    /// `PRETTY_NAME`.
    pub pretty_name: String,
}

/// Every file of `distros/` by its name. A release may inherit a file that stands before it.
const FILES: &[(&str, &str)] = &[
    ("debian", include_str!("../distros/debian.toml")),
    ("debian-10", include_str!("../distros/debian-10.toml")),
    ("debian-11", include_str!("../distros/debian-11.toml")),
    ("debian-12", include_str!("../distros/debian-12.toml")),
    ("debian-13", include_str!("../distros/debian-13.toml")),
    ("ubuntu", include_str!("../distros/ubuntu.toml")),
    ("ubuntu-20.04", include_str!("../distros/ubuntu-20.04.toml")),
    ("ubuntu-22.04", include_str!("../distros/ubuntu-22.04.toml")),
    ("ubuntu-24.04", include_str!("../distros/ubuntu-24.04.toml")),
];

static ALL: LazyLock<Vec<Distro>> =
    LazyLock::new(|| load(FILES).expect("the embedded releases are checked by a test of this module"));

/// One supported release.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Distro {
    /// `ID` of os-release.
    pub id: String,
    /// `VERSION_ID` of os-release.
    pub version: String,
    /// `VERSION_CODENAME` of os-release.
    pub codename: String,
    /// What people call it: `Debian 12`.
    pub name: String,
    /// The day its security support ends, `2028-06-30`.
    pub support_ends: String,
    /// The first version of the release's kernels with WireGuard. It is only reported, nothing is decided by it (FN-14).
    pub wireguard_since: String,
    /// What the packages are called here.
    pub packages: PackageNames,
    /// A suite the packages come from, which isn't among a fresh host's sources.
    #[serde(default)]
    pub suite: Option<Suite>,
    /// Features that this release's apt lacks.
    #[serde(default)]
    pub apt_lacks: Vec<AptFeature>,
    /// Releases built on this one whose os-release doesn't name it.
    #[serde(default)]
    pub derivatives: Vec<Derivative>,
    /// The derivative that is taken for this release, `Linux Mint 20.3`.
    #[serde(skip)]
    pub derivative: Option<String>,
}

/// What packages are called. `{kernel}` stands for `uname -r`, `{flavour}` for its last part (`amd64`,
/// `cloud-amd64`, `generic`), `{arch}` for dpkg's name of the architecture.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PackageNames {
    /// The packages with `wg`.
    pub tools: Vec<String>,
    /// The release's own Docker: daemon and client.
    pub docker: Vec<String>,
    /// The release's own compose, of the second generation where it has that.
    pub compose: String,
    /// The source that dkms builds the module from, where the stock kernel has none.
    #[serde(default)]
    pub dkms: Vec<String>,
    /// The running kernel's headers, which dkms needs.
    #[serde(default)]
    pub headers: Vec<String>,
    /// The newest kernel and its headers, for a host whose running kernel's headers are gone from apt (FN-12).
    #[serde(default)]
    pub next_kernel: Vec<String>,
    /// The package with a cloud kernel's module (FN-18).
    pub extra_modules: Option<String>,
    /// The release's own kernel.
    pub kernel: String,
    /// A WireGuard that needs no kernel module.
    pub userspace: Option<String>,
    /// What keeps the clock, where systemd comes without it.
    #[serde(default)]
    pub time_sync: Vec<String>,
}

/// A suite beside the release's own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Suite {
    /// Its name, `buster-backports`.
    pub name: String,
    /// The file under /etc/apt that names it.
    pub list: String,
    /// The archive that keeps it after the mirrors have dropped it.
    pub archive: Option<String>,
    /// Address and name of the archived security suite.
    pub archive_security: Option<String>,
}

/// A feature of newer apt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AptFeature {
    /// `-o DPkg::Lock::Timeout` (FN-20).
    LockTimeout,
}

/// A release that is built on another one and names neither its suite nor its version.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Derivative {
    /// `ID` of its os-release.
    pub id: String,
    /// What its `VERSION_ID` begins with.
    pub version: String,
}

impl Distro {
    /// Every supported release, oldest first in each family.
    pub fn all() -> &'static [Distro] {
        &ALL
    }

    /// The release that os-release names, or the one it is built on; else why it is not supported, and which one is
    /// nearest.
    pub fn detect(os: &OsRelease) -> Result<Distro, Message> {
        if let Some(distro) = Self::all().iter().find(|d| d.id == os.id && d.version == os.version_id) {
            return Ok(distro.clone());
        }
        let built_on = Self::all().iter().find(|d| {
            d.derivatives.iter().any(|x| x.id == os.id && begins_with_version(&os.version_id, &x.version))
                || os.id != d.id
                    && (os.parent_codename.as_ref() == Some(&d.codename)
                        || os.id_like.contains(&d.id) && os.codename == d.codename)
        });
        match built_on {
            Some(distro) => Ok(Distro { derivative: Some(name_of(os)), ..distro.clone() }),
            None => Err(refusal(os)),
        }
    }

    /// Whether security support had ended on `today`, an ISO date.
    pub(crate) fn is_past_support(&self, today: &str) -> bool {
        !today.is_empty() && today > self.support_ends.as_str()
    }

    /// Every package that an install may need on this kernel.
    pub(crate) fn named_packages(&self, kernel: &str, arch: &str) -> BTreeSet<String> {
        let names = &self.packages;
        let patterns = names.tools.iter().chain(&names.dkms).chain(&names.extra_modules).chain(&names.userspace);
        patterns.chain(&names.headers).chain(&names.next_kernel).filter_map(|p| fill_in(p, kernel, arch)).collect()
    }

    /// The packages that depend on the newest kernel and its headers; `None` where a release needs none.
    pub(crate) fn next_kernel(&self, kernel: &str, arch: &str) -> Option<Vec<String>> {
        filled(&self.packages.next_kernel, kernel, arch).filter(|names| !names.is_empty())
    }

    /// The packages with the headers of this kernel; `None` where they can't be named.
    pub(crate) fn headers(&self, kernel: &str, arch: &str) -> Option<Vec<String>> {
        filled(&self.packages.headers, kernel, arch)
    }

    /// The package with the module of this kernel, where the release has such packages (FN-18).
    pub(crate) fn extra_modules(&self, kernel: &str, arch: &str) -> Option<String> {
        fill_in(self.packages.extra_modules.as_ref()?, kernel, arch)
    }

    /// The package of the release's own kernel.
    pub(crate) fn kernel_package(&self, arch: &str) -> Option<String> {
        fill_in(&self.packages.kernel, "", arch)
    }
}

/// Patterns with their variables replaced; `None` when there is no value for one of them.
fn filled(patterns: &[String], kernel: &str, arch: &str) -> Option<Vec<String>> {
    patterns.iter().map(|pattern| fill_in(pattern, kernel, arch)).collect()
}

/// A pattern with its variables replaced; `None` when there is no value for one of them.
fn fill_in(pattern: &str, kernel: &str, arch: &str) -> Option<String> {
    let arch = match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    // 4.19.0-21-cloud-amd64 is version, ABI and flavour.
    let flavour = kernel.splitn(3, '-').nth(2).unwrap_or("");
    let mut name = pattern.to_owned();
    for (variable, value) in [("{kernel}", kernel), ("{flavour}", flavour), ("{arch}", arch)] {
        if name.contains(variable) {
            if value.is_empty() {
                return None;
            }
            name = name.replace(variable, value);
        }
    }
    Some(name)
}

/// Whether `1.7_x86-64` is a `1.7`; `1.70` is not.
fn begins_with_version(version: &str, prefix: &str) -> bool {
    version.strip_prefix(prefix).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn name_of(os: &OsRelease) -> String {
    let name = if os.pretty_name.is_empty() { &os.id } else { &os.pretty_name };
    let number = os.version_id.split('_').next().unwrap_or_default();
    if name.contains(number) { name.clone() } else { format!("{name} {number}") }
}

fn refusal(os: &OsRelease) -> Message {
    let of = |id: &str| Distro::all().iter().filter(|d| d.id == id).collect::<Vec<_>>();
    let related: Vec<&Distro> = std::iter::once(&os.id).chain(&os.id_like).flat_map(|id| of(id)).collect();
    let number = |version: &str| version.parse::<f64>().ok();
    // A derivative numbers its versions in its own way, so they don't show which release is nearest.
    let wanted = number(&os.version_id).filter(|_| !of(&os.id).is_empty());
    let distance = |d: &Distro| {
        let version = number(&d.version).unwrap_or_default();
        wanted.map_or(-version, |wanted| (version - wanted).abs())
    };
    let candidates = if related.is_empty() { of("debian") } else { related.clone() };
    let nearest = candidates.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
    let reason = if os.id.is_empty() {
        message!("there is no os-release that names this host's release")
    } else if related.is_empty() {
        message!("{name} is built from neither Debian's nor Ubuntu's packages", name = name_of(os))
    } else {
        message!("{name} is not among the supported releases", name = name_of(os))
    };
    match nearest {
        Some(nearest) => message!("{reason}; the nearest supported one is {nearest}", reason, nearest = &nearest.name),
        None => reason,
    }
}

/// Reads the files, each on top of the one it inherits. A file without a version can only be inherited.
fn load(files: &[(&str, &str)]) -> Result<Vec<Distro>, String> {
    let mut read: Vec<(&str, toml::Table)> = Vec::new();
    let mut distros = Vec::new();
    for (name, text) in files {
        let mut table: toml::Table = text.parse().map_err(|e| format!("{name}: {e}"))?;
        if let Some(parent) = table.remove("inherit") {
            let parent = read.iter().find(|(n, _)| Some(*n) == parent.as_str());
            let (_, parent) = parent.ok_or_else(|| format!("{name}: inherits no file before it"))?;
            table = merge(parent.clone(), table);
        }
        if table.contains_key("version") {
            distros.push(Distro::deserialize(table.clone()).map_err(|e| format!("{name}: {e}"))?);
        }
        read.push((name, table));
    }
    Ok(distros)
}

/// `over` on top of `base`: tables are merged, everything else is replaced.
fn merge(mut base: toml::Table, over: toml::Table) -> toml::Table {
    for (key, value) in over {
        let value = match (base.remove(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => toml::Value::Table(merge(base, over)),
            (_, value) => value,
        };
        base.insert(key, value);
    }
    base
}

#[cfg(test)]
mod tests;
