//! Which release a host is recognised as.

use super::*;
use crate::facts::os;
use std::path::Path;

fn recorded() -> Vec<(String, OsRelease)> {
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

fn detect(name: &str) -> Result<Distro, Message> {
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
    for (file, derivative, release) in [
        ("linuxmint-20.3", "Linux Mint 20.3", "Ubuntu 20.04"),
        ("raspbian-10", "Raspbian GNU/Linux 10 (buster)", "Debian 10"),
        ("astra-1.7", "Astra Linux 1.7", "Debian 10"),
        ("astra-1.8", "Astra Linux 1.8", "Debian 12"),
        ("lmde-6", "LMDE 6 (faye)", "Debian 12"),
    ] {
        let distro = detect(file).unwrap();
        assert_eq!((distro.derivative.as_deref(), distro.name.as_str()), (Some(derivative), release));
    }
    assert_eq!(detect("ubuntu-20.04").unwrap().derivative, None);
}

#[test]
fn what_is_not_supported_is_refused_with_the_nearest_that_is() {
    let refusal = |text: &str| Distro::detect(&os::parse(text)).unwrap_err().to_string();
    assert_eq!(
        detect("altlinux-10").unwrap_err().to_string(),
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
fn support_ends_after_its_last_day() {
    let buster = detect("debian-10").unwrap();
    assert!(!buster.is_past_support("2024-06-30") && buster.is_past_support("2024-07-01"));
    assert!(!buster.is_past_support(""));
}
