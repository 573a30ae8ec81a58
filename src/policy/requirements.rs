//! What an install needs that this host lacks: packages, their suite, a source for the kernel module.

use super::uses_default_stack;
use crate::distro::Distro;
use crate::facts::{Facts, Kernel, PackageFacts, WireGuardSupport};
use crate::settings::Settings;

/// Where the kernel module comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModuleSource {
    /// A package of ready modules for this very kernel.
    Package(String),
    /// dkms builds it for the running kernel.
    Dkms {
        /// The packages of its headers.
        headers: Vec<String>,
        /// The packages that hold the source.
        packages: Vec<String>,
    },
    /// The running kernel can't have it; another one will, after a reboot (FN-12).
    NextBoot {
        /// That kernel and its headers; none where it is installed already.
        kernel: Vec<String>,
        /// The packages that hold the source.
        packages: Vec<String>,
    },
}

impl ModuleSource {
    /// The packages to install.
    pub(crate) fn packages(&self) -> Vec<String> {
        match self {
            ModuleSource::Package(name) => vec![name.clone()],
            ModuleSource::Dkms { headers, packages } => headers.iter().chain(packages).cloned().collect(),
            ModuleSource::NextBoot { kernel, packages } => kernel.iter().chain(packages).cloned().collect(),
        }
    }

    /// Whether it is compiled on this host, and so unsigned.
    pub(crate) fn is_built(&self) -> bool {
        match self {
            ModuleSource::Package(_) => false,
            ModuleSource::Dkms { packages, .. } | ModuleSource::NextBoot { packages, .. } => !packages.is_empty(),
        }
    }
}

/// What an install has to install on this host: the tools, the source of the kernel module, or with our own stack
/// a userspace implementation. apt adds what they depend on.
pub(crate) fn missing_packages(facts: &Facts, distro: &Distro, settings: &Settings) -> Vec<String> {
    let mut wanted = distro.packages.tools.clone();
    if !facts.kernel.wireguard.usable() {
        match module_route(facts, distro) {
            Some(source) => wanted.extend(source.packages()),
            None if uses_default_stack(facts, settings) => wanted.extend(distro.packages.userspace.clone()),
            None => {}
        }
    }
    wanted.retain(|name| !facts.packages.installed(name));
    wanted
}

/// Whether apt has no lists of the suite that this release needs beside its own.
pub(crate) fn lacks_suite(packages: &PackageFacts, distro: &Distro) -> bool {
    let sources = packages.sources.as_deref().unwrap_or_default();
    distro.suite.as_ref().is_some_and(|suite| !sources.iter().any(|s| s.fetched && s.suite == suite.name))
}

/// How an install gets the module that the running kernel lacks; `None` when it has one or can't get one: in a
/// container (FN-19), or where Secure Boot would refuse what dkms builds (FN-17).
pub(crate) fn module_route(facts: &Facts, distro: &Distro) -> Option<ModuleSource> {
    if facts.kernel.wireguard != WireGuardSupport::Missing || facts.machine.container.is_some() {
        return None;
    }
    let source = module_source(&facts.kernel, &facts.machine.arch, &facts.packages, distro)?;
    if facts.kernel.secure_boot != Some(true) || !source.is_built() {
        return Some(source);
    }
    // A later kernel may have the module, signed.
    facts.kernel.next_has_it().then(|| ModuleSource::NextBoot { kernel: Vec::new(), packages: Vec::new() })
}

/// Where this release gets the module that this kernel lacks; `None` when it has no source for it.
pub(crate) fn module_source(
    kernel: &Kernel,
    arch: &str,
    packages: &PackageFacts,
    distro: &Distro,
) -> Option<ModuleSource> {
    let obtainable = |names: &[String]| names.iter().all(|name| packages.obtainable(name));
    if let Some(extra) = distro.extra_modules(&kernel.release, arch).filter(|name| packages.obtainable(name)) {
        return Some(ModuleSource::Package(extra));
    }
    let dkms = distro.packages.dkms.clone();
    let headers = distro.headers(&kernel.release, arch).filter(|_| !dkms.is_empty());
    // By the names of that kernel itself: an installed metapackage may depend on an older one.
    let newest = |names: Vec<String>| {
        names.into_iter().map(|name| packages.newest.get(&name).cloned().unwrap_or(name)).collect::<Vec<_>>()
    };
    let next_kernel = distro.next_kernel(&kernel.release, arch).map(newest);
    match (headers, next_kernel) {
        (Some(headers), _) if obtainable(&headers) => Some(ModuleSource::Dkms { headers, packages: dkms }),
        _ if kernel.next_has_it() => Some(ModuleSource::NextBoot { kernel: Vec::new(), packages: Vec::new() }),
        (_, Some(kernel)) if obtainable(&kernel) => Some(ModuleSource::NextBoot { kernel, packages: dkms }),
        // apt knows none of them because its lists are missing. The headers of the running kernel are then right.
        (Some(headers), _) => Some(ModuleSource::Dkms { headers, packages: dkms }),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{NextKernel, Package};

    fn release(version: &str) -> &'static Distro {
        Distro::all().iter().find(|distro| distro.version == version).unwrap()
    }

    #[test]
    fn headers_of_the_running_kernel_come_first() {
        let buster = release("10");
        let kernel = Kernel { release: "4.19.0-21-cloud-amd64".into(), ..Kernel::default() };
        let candidate = |names: &[&str]| PackageFacts {
            known: names
                .iter()
                .map(|n| ((*n).to_owned(), Package { candidate: Some("1".into()), ..Package::default() }))
                .collect(),
            ..PackageFacts::default()
        };
        let source = |packages: &PackageFacts| module_source(&kernel, "x86_64", packages, buster).unwrap();
        let both = candidate(&["linux-headers-4.19.0-21-cloud-amd64", "linux-headers-cloud-amd64"]);
        assert_eq!(source(&both).packages(), ["linux-headers-4.19.0-21-cloud-amd64", "wireguard-dkms"]);
        assert_eq!(source(&PackageFacts::default()), source(&both));
        let newer = ["linux-image-cloud-amd64", "linux-headers-cloud-amd64"].map(str::to_owned);
        let next_boot = |kernel: &[String], packages: &[String]| ModuleSource::NextBoot {
            kernel: kernel.to_vec(),
            packages: packages.to_vec(),
        };
        assert_eq!(
            source(&candidate(&["linux-image-cloud-amd64", "linux-headers-cloud-amd64"])),
            next_boot(&newer, &["wireguard-dkms".to_owned()])
        );
        let installed = NextKernel { release: "4.19.0-27-cloud-amd64".into(), wireguard: true };
        let kernel = Kernel { next: Some(installed), ..kernel.clone() };
        let source = |packages: &PackageFacts| module_source(&kernel, "x86_64", packages, buster).unwrap();
        assert_eq!(source(&PackageFacts::default()), next_boot(&[], &[]));
        assert!(matches!(source(&both), ModuleSource::Dkms { .. }), "no reboot where there is a way without one");
    }

    #[test]
    fn secure_boot_leaves_only_signed_modules() {
        let buster = release("10");
        let mut facts = Facts::healthy();
        facts.kernel = Kernel { release: "4.19.0-21-amd64".into(), secure_boot: Some(true), ..Kernel::default() };
        assert_eq!(module_route(&facts, buster), None);
        facts.kernel.next = Some(NextKernel { release: "5.10.0-0.deb10.27-amd64".into(), wireguard: true });
        assert_eq!(module_route(&facts, buster).map(|route| route.is_built()), Some(false));
        facts.kernel.secure_boot = Some(false);
        assert_eq!(module_route(&facts, buster), module_source(&facts.kernel, "x86_64", &facts.packages, buster));
    }

    #[test]
    fn a_cloud_kernels_module_comes_from_its_own_package_where_apt_has_it() {
        let focal = release("20.04");
        let kernel = Kernel { release: "5.4.0-1103-kvm".into(), ..Kernel::default() };
        let mut packages = PackageFacts::default();
        assert_eq!(module_source(&kernel, "x86_64", &packages, focal), None);
        let name = "linux-modules-extra-5.4.0-1103-kvm";
        assert!(focal.named_packages(&kernel.release, "x86_64").contains(name));
        packages.known.insert(name.into(), Package { candidate: Some("1".into()), ..Package::default() });
        assert_eq!(module_source(&kernel, "x86_64", &packages, focal), Some(ModuleSource::Package(name.into())));
    }
}
