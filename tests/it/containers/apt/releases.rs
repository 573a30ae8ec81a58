//! Made-up hosts of old releases: their identity, their suites in a signed archive that answers over HTTP as their sources
//! name it, real apt and dpkg, and a run's own way from facts to an applied plan. What is not real: the old apt, the old
//! kernel, and what the packages contain.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use mitigator_vpn::converge::apply;
use mitigator_vpn::converge::journal::{Receipt, RunStart};
use mitigator_vpn::converge::plan::Plan;
use mitigator_vpn::converge::undo::{self, Fate};
use mitigator_vpn::desired::{self, Generated};
use mitigator_vpn::distro::Distro;
use mitigator_vpn::error::Result;
use mitigator_vpn::facts::{self, Facts, Kernel, NextKernel};
use mitigator_vpn::host::Host;
use mitigator_vpn::preflight;
use mitigator_vpn::progress::Progress;
use mitigator_vpn::resource::{Step, Wanted};
use mitigator_vpn::settings::Settings;
use mitigator_vpn::wireguard::PrivateKey;

use super::{apt_get, in_root, sh};

/// What an archive is asked for by the names that the releases know, and whether it is there.
type Has = fn(host: &str, path: &str) -> bool;

/// Serves the archive over HTTP as every host whose address a release's sources name. It ends with the process.
fn serve(has: Has) {
    let names = ["mirror.example", "inside.example", "archive.debian.org"].map(|name| format!("127.0.0.1 {name}\n"));
    fs::write("/etc/hosts", names.concat()).unwrap();
    let server = TcpListener::bind("127.0.0.1:80").unwrap();
    std::thread::spawn(move || {
        for client in server.incoming() {
            std::thread::spawn(move || answer(client.unwrap(), has).unwrap_or_default());
        }
    });
}

fn answer(mut client: TcpStream, has: Has) -> std::io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let mut words = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    words = words.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut host = String::new();
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        host = line.strip_prefix("Host: ").map_or(host, str::to_owned);
    }
    // The first directory is the archive's own name: debian, debian-security, ubuntu.
    let inside = words.splitn(3, '/').nth(2).unwrap_or_default();
    let found = fs::read(Path::new("/srv/archive").join(inside)).ok().filter(|_| has(&host, &words));
    let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
    let body = found.unwrap_or_default();
    write!(client, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    client.write_all(&body)
}

const BUSTER: &str = "ID=debian\nVERSION_ID=\"10\"\nVERSION_CODENAME=buster\n";
const BUSTER_SOURCES: &str = "deb http://mirror.example/debian buster main\n\
                              deb http://mirror.example/debian-security buster/updates main\n";
const BACKPORTS: &str = "/etc/apt/sources.list.d/buster-backports.list";

/// This root as another release's, which runs this kernel without WireGuard.
struct Release {
    kernel: &'static str,
    settings: Settings,
}

impl Release {
    fn new(os_release: &str, sources: &str, kernel: &'static str) -> Release {
        fs::write("/etc/os-release", os_release).unwrap();
        fs::write("/etc/apt/sources.list", sources).unwrap();
        let settings = Settings {
            vpn_address: Some([10, 8, 3, 1].into()),
            endpoint: Some(([192, 0, 2, 1], 4567).into()),
            ..Settings::default()
        };
        Release { kernel, settings }
    }

    /// What is read of it: all as it is here, but for the kernel.
    fn facts(&self, host: &Host) -> (Facts, Distro) {
        let (mut facts, distro) = Facts::gather(host, &self.settings);
        let distro = distro.unwrap();
        let next = NextKernel { release: self.kernel.to_owned(), wireguard: false };
        facts.kernel =
            Kernel { release: self.kernel.to_owned(), next: Some(next), secure_boot: Some(false), ..Kernel::default() };
        facts.machine.container = None;
        facts.packages = facts::packages::gather(&facts::Reading::of(host), Some(&distro), self.kernel);
        (facts, distro)
    }

    /// What an install would do about packages, and their sources.
    fn plan(&self, host: &Host) -> Result<Plan> {
        let (facts, distro) = self.facts(host);
        let generated = Generated { key: PrivateKey::generate(), executable: String::new() };
        let mut wanted = desired::resources(&facts, Some(&distro), &self.settings, &generated)?;
        wanted.retain(|w| matches!(w, Wanted::AptSource(_) | Wanted::Packages(_)));
        Plan::diff(host, wanted)
    }

    /// Installs as a run does; gives back the steps.
    fn install(&self, host: &mut Host) -> Result<Vec<String>> {
        let plan = self.plan(host)?;
        let applied =
            apply::run_replanned(host, plan, &RunStart::ignoring(&[]), &Progress::Silent, |host, _| self.plan(host))?;
        Ok(applied.steps.iter().map(Step::to_string).collect())
    }
}

#[test]
fn a_debian_10_whose_suites_are_gone_gets_its_module_from_the_archive() {
    in_root(|host| {
        serve(|host, _| host == "archive.debian.org");
        for (kernel, from) in [("4.19.0-21-amd64", "the last point release"), ("4.19.0-27-amd64", "the security suite")]
        {
            let release = Release::new(BUSTER, BUSTER_SOURCES, kernel);
            let steps = release.install(host).unwrap();
            assert_eq!(steps[0], format!("create apt source buster-backports in {BACKPORTS}"), "{from}");
            let packages =
                format!("install packages wireguard-tools, linux-headers-{kernel}, wireguard-dkms (with libtoy)");
            assert_eq!(steps[1..], [packages], "{from}");
            assert!(release.plan(host).unwrap().is_empty(), "what is there already is left alone");
            assert_eq!(fs::read_to_string("/etc/apt/sources.list").unwrap(), BUSTER_SOURCES, "somebody else's list");
            let receipt = Receipt::load(host).unwrap();
            let fates = undo::run(host, &receipt.changes, &Progress::Silent).unwrap();
            assert!(fates.len() == 2 && fates.iter().all(|undone| undone.fate == Fate::TakenBack), "{from}");
            assert!(!Path::new(BACKPORTS).exists());
        }
    });
}

#[test]
fn where_the_running_kernels_headers_are_gone_the_newest_kernel_comes_with_its_own() {
    in_root(|host| {
        serve(|host, _| host == "archive.debian.org");
        let release = Release::new(BUSTER, BUSTER_SOURCES, "4.19.0-13-amd64");
        // Before apt has the source, nobody can know that they are gone.
        let planned = release.plan(host).unwrap();
        assert!(planned.packages().contains("linux-headers-4.19.0-13-amd64"));
        let steps = release.install(host).unwrap();
        let kernel = "install packages linux-image-4.19.0-27-amd64, linux-headers-4.19.0-27-amd64";
        assert_eq!(steps[1..], [kernel, "install packages wireguard-tools, wireguard-dkms (with libtoy)"]);
    });
}

#[test]
fn a_kernel_that_only_its_name_for_the_newest_says_is_there_counts_as_missing() {
    in_root(|host| {
        serve(|_, _| true);
        let release = Release::new(BUSTER, BUSTER_SOURCES, "4.19.0-13-amd64");
        // Every installer puts linux-image-amd64 there; it is as old as the kernel that came with it.
        sh("mkdir -p /tmp/old/DEBIAN; cd /tmp
            printf 'Package: linux-image-amd64\nVersion: 0.9\nArchitecture: all\nMaintainer: n\nDescription: old\n' >old/DEBIAN/control
            dpkg-deb --build old old.deb; dpkg --install old.deb");
        let steps = release.install(host).unwrap();
        assert!(
            steps.contains(&"install packages linux-image-4.19.0-27-amd64, linux-headers-4.19.0-27-amd64".to_owned()),
            "{steps:?}"
        );
    });
}

#[test]
fn a_mirror_that_still_has_the_suite_is_taken_and_one_that_is_named_is_the_only_one() {
    in_root(|host| {
        serve(|host, path| host != "mirror.example" || !path.contains("/updates/"));
        let mut release = Release::new(BUSTER, BUSTER_SOURCES, "4.19.0-21-amd64");
        let line = |release: &Release, host: &mut Host| {
            release.install(host).map(|_| fs::read_to_string(BACKPORTS).unwrap().lines().last().unwrap().to_owned())
        };
        // Past its date, which a mirror that is looked after would have renewed, and the archive can't.
        release.settings.apt_mirror = Some("http://inside.example/debian".into());
        let error = line(&release, host).unwrap_err();
        assert!(error.to_string().contains("nobody has the suite buster-backports: "), "{error}");
        assert!(error.to_string().contains("is expired"), "{error}");
        assert!(error.way_out().unwrap().contains("--apt-mirror"), "{error}");
        assert!(!Path::new(BACKPORTS).exists(), "a source that doesn't work out is taken away");

        sh(
            "for dir in /srv/archive/dists/buster*; do mv $dir/InRelease.alive $dir/InRelease; done; apt-get -q update || true",
        );
        for (mirror, host_name) in [(None, "mirror.example"), (Some("http://inside.example/debian"), "inside.example")]
        {
            release.settings.apt_mirror = mirror.map(str::to_owned);
            let line = line(&release, host).unwrap();
            assert_eq!(line, format!("deb http://{host_name}/debian buster-backports main"));
            undo::run(host, &Receipt::load(host).unwrap().changes, &Progress::Silent).unwrap();
        }
    });
}

#[test]
fn a_debian_10_refuses_an_archive_that_is_down_or_has_a_bad_signature() {
    in_root(|host| {
        let release = Release::new(BUSTER, BUSTER_SOURCES, "4.19.0-21-amd64");
        let fails = |host: &mut Host, because: &str| {
            let error = release.install(host).unwrap_err().to_string();
            assert!(error.contains("nobody has the suite buster-backports") && error.contains(because), "{error}");
            assert!(!Path::new(BACKPORTS).exists(), "a source that doesn't work out is taken away");
        };
        fails(host, "Failed to fetch http://archive.debian.org/debian/dists/buster");
        serve(|host, _| host == "archive.debian.org");
        sh("sed -i 's/^Origin: Toys/Origin: Toxic/' /srv/archive/dists/buster-backports/InRelease");
        fails(host, "BADSIG");
    });
}

#[test]
fn a_failed_build_on_debian_10_is_mended_by_the_next_run() {
    in_root(|host| {
        serve(|host, _| host == "archive.debian.org");
        let release = Release::new(BUSTER, BUSTER_SOURCES, "4.19.0-21-amd64");
        fs::write("/etc/dkms-fails", "").unwrap();
        let error = release.install(host).unwrap_err().to_string();
        assert!(
            error.contains("the module doesn't build: main.c:7:1") && error.contains("wireguard-dkms (iF)"),
            "{error}"
        );
        let (facts, distro) = release.facts(host);
        let context = preflight::Inputs { facts: &facts, distro: Ok(&distro), settings: &release.settings };
        let finding = preflight::run(&context).into_iter().find(|finding| finding.id == "dpkg-healthy").unwrap();
        assert_eq!(finding.detail.to_string(), "half installed: wireguard-dkms (iF); install finishes it");
        fs::remove_file("/etc/dkms-fails").unwrap();
        assert_eq!(release.install(host).unwrap(), ["install package wireguard-dkms"]);
        assert!(release.plan(host).unwrap().is_empty());
    });
}

#[test]
fn an_ubuntu_2004_with_a_clouds_kernel_gets_the_modules_that_it_left_out() {
    in_root(|host| {
        serve(|_, _| true);
        let focal = "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"20.04\"\nVERSION_CODENAME=focal\n";
        let release = Release::new(focal, "deb http://mirror.example/ubuntu focal main\n", "5.4.0-1103-aws");
        apt_get("update");
        let steps = release.install(host).unwrap();
        assert_eq!(steps, ["install packages wireguard-tools, linux-modules-extra-5.4.0-1103-aws (with libtoy)"]);
        assert!(release.plan(host).unwrap().is_empty());
    });
}
