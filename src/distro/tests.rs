//! Which release a host is taken for, and what its data says.

use super::*;
use crate::facts::{NextKernel, os};
use std::path::Path;

fn recorded() -> Vec<(String, Os)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts/os-release");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .map(|p| {
            let name = p.file_name().unwrap().to_str().unwrap().to_owned();
            (name, os::parse(&std::fs::read_to_string(p).unwrap()))
        })
        .collect()
}

fn detect(name: &str) -> Result<Distro, String> {
    Distro::detect(&recorded().into_iter().find(|(n, _)| n == name).unwrap().1)
}

#[test]
fn every_file_is_embedded_loads_and_is_met_by_a_recorded_host() {
    load(FILES).unwrap();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("distros");
    let mut there: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    there.sort();
    let mut embedded: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
    embedded.sort();
    assert_eq!(there, embedded);
    let recorded = recorded();
    for distro in Distro::all() {
        let met = recorded.iter().any(|(_, os)| Distro::detect(os).as_ref() == Ok(distro));
        assert!(met, "no recorded os-release is {}", distro.name);
        let date: Vec<usize> = distro.support_ends.split('-').map(str::len).collect();
        assert_eq!(date, [4, 2, 2], "{}", distro.support_ends);
    }
}

#[test]
fn an_unknown_key_in_a_release_is_an_error_that_names_the_file() {
    let error = load(&[FILES[0], ("debian-99", "inherit = \"debian\"\nversion = \"99\"\nshell = \"rm\"")]).unwrap_err();
    assert!(error.starts_with("debian-99: ") && error.contains("shell"), "{error}");
    let error = load(&[("debian-99", "inherit = \"debian\"")]).unwrap_err();
    assert!(error.contains("inherits no file"), "{error}");
}

#[test]
fn derivatives_are_taken_as_what_they_are_built_on_and_say_so() {
    for (file, best_effort) in [
        ("linuxmint-20.3", "Linux Mint 20.3 as Ubuntu 20.04"),
        ("raspbian-10", "Raspbian GNU/Linux 10 (buster) as Debian 10"),
        ("astra-1.7", "Astra Linux 1.7 as Debian 10"),
        ("astra-1.8", "Astra Linux 1.8 as Debian 12"),
        ("lmde-6", "LMDE 6 (faye) as Debian 12"),
    ] {
        assert_eq!(detect(file).unwrap().best_effort.as_deref(), Some(best_effort));
    }
    assert_eq!(detect("ubuntu-20.04").unwrap().best_effort, None);
}

#[test]
fn what_is_not_supported_is_refused_with_the_nearest_that_is() {
    let refusal = |text: &str| Distro::detect(&os::parse(text)).unwrap_err();
    assert_eq!(
        detect("altlinux-10").unwrap_err(),
        "ALT Starterkit 10 (Hypericum) is built from neither Debian's nor Ubuntu's packages; \
         the nearest supported one is Debian 13"
    );
    for (text, nearest) in [
        ("ID=debian\nVERSION_ID=9", "Debian 10"),
        ("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux forky/sid\"", "Debian 13"),
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=18.04", "Ubuntu 20.04"),
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=23.10", "Ubuntu 24.04"),
        ("ID=kali\nID_LIKE=debian\nVERSION_ID=2024.1\nVERSION_CODENAME=kali-rolling", "Debian 13"),
        ("ID=astra\nID_LIKE=debian\nVERSION_ID=1.6", "Debian 13"),
        ("", "Debian 13"),
    ] {
        let said = refusal(text);
        assert!(said.ends_with(&format!("the nearest supported one is {nearest}")), "{text}: {said}");
    }
}

#[test]
fn headers_of_the_running_kernel_come_first() {
    let buster = detect("debian-10").unwrap();
    let kernel = Kernel { release: "4.19.0-21-cloud-amd64".into(), ..Kernel::default() };
    let candidate = |names: &[&str]| PackageFacts {
        known: names
            .iter()
            .map(|n| ((*n).to_owned(), Package { candidate: Some("1".into()), ..Package::default() }))
            .collect(),
        ..PackageFacts::default()
    };
    let source = |packages: &PackageFacts| buster.module_source(&kernel, "x86_64", packages).unwrap();
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
    let source = |packages: &PackageFacts| buster.module_source(&kernel, "x86_64", packages).unwrap();
    assert_eq!(source(&PackageFacts::default()), next_boot(&[], &[]));
    assert!(matches!(source(&both), ModuleSource::Dkms { .. }), "no reboot where there is a way without one");
}

#[test]
fn secure_boot_leaves_only_what_somebody_has_signed() {
    let buster = detect("debian-10").unwrap();
    let mut facts = Facts::healthy();
    facts.kernel = Kernel { release: "4.19.0-21-amd64".into(), secure_boot: Some(true), ..Kernel::default() };
    assert_eq!(buster.module_route(&facts), None);
    facts.kernel.next = Some(NextKernel { release: "5.10.0-0.deb10.27-amd64".into(), wireguard: true });
    assert_eq!(buster.module_route(&facts).map(|route| route.is_built()), Some(false));
    facts.kernel.secure_boot = Some(false);
    assert_eq!(buster.module_route(&facts), buster.module_source(&facts.kernel, "x86_64", &facts.packages));
}

#[test]
fn a_cloud_kernels_module_comes_from_its_own_package_where_apt_has_it() {
    let focal = detect("ubuntu-20.04").unwrap();
    let kernel = Kernel { release: "5.4.0-1103-kvm".into(), ..Kernel::default() };
    let mut packages = PackageFacts::default();
    assert_eq!(focal.module_source(&kernel, "x86_64", &packages), None);
    let name = "linux-modules-extra-5.4.0-1103-kvm";
    assert!(focal.named_packages(&kernel.release, "x86_64").contains(name));
    packages.known.insert(name.into(), Package { candidate: Some("1".into()), ..Package::default() });
    assert_eq!(focal.module_source(&kernel, "x86_64", &packages), Some(ModuleSource::Package(name.into())));
}

#[test]
fn support_ends_after_its_last_day() {
    let buster = detect("debian-10").unwrap();
    assert!(!buster.is_past_support("2024-06-30") && buster.is_past_support("2024-07-01"));
    assert!(!buster.is_past_support(""));
}
