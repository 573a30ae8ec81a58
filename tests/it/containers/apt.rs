//! Packages by real apt and dpkg, against a signed archive of toy packages.
//!
//! Each test runs itself again in a chroot: an overlay on a root that `scripts/test` has made, without a network. There
//! the library sees a live host, and apt, dpkg, locks, signatures and failing maintainer scripts are the real ones.
//! What is not real is what the packages contain.

mod releases;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use mitigator_vpn::converge::plan::Plan;
use mitigator_vpn::distro::Distro;
use mitigator_vpn::error::Result;
use mitigator_vpn::facts::packages::dpkg::DpkgRecord;
use mitigator_vpn::facts::{self, packages::lock_holder};
use mitigator_vpn::host::{Advance, Host, LockHolder, Process};
use mitigator_vpn::resource::{AptSource, Goal, Packages, Resource, SourceFile, State, Versions};

use crate::support::{itself, skip, test_name};

/// Where `scripts/test` says its root is.
const ROOT: &str = "MITIGATOR_VPN_TEST_APT_ROOT";
/// Says in the child which test it is there for.
const INSIDE: &str = "MITIGATOR_VPN_TEST_INSIDE";
/// Has the child hold this lock for as long as it lives.
const HOLD: &str = "MITIGATOR_VPN_TEST_HOLD";

const LAY_OVERLAY: &str = r#"
set -e
root=$1 exe=$2; cd "$3"; shift 3
ip link set lo up
trap 'exit 77' EXIT
mount -t tmpfs none .
mkdir upper work root
mount -t overlay overlay -o "lowerdir=$root,upperdir=upper,workdir=work" root
mount -t proc proc root/proc
touch root/test; mount --bind "$exe" root/test
trap - EXIT
exec chroot root /test "$@"
"#;

fn in_root(body: fn(&mut Host)) {
    let name = test_name();
    if let Ok(path) = std::env::var(HOLD) {
        return hold(&path);
    }
    if std::env::var(INSIDE).is_ok_and(|inside| inside == name) {
        return body(&mut Host::live());
    }
    let root = std::env::var(ROOT).unwrap_or_default();
    if !nix::unistd::geteuid().is_root() {
        skip("needs root");
    } else if !Path::new(&root).join("srv/archive").is_dir() {
        skip(&format!("no root to try apt in ({ROOT}); scripts/test makes one"));
    } else {
        let place = tempfile::tempdir().unwrap();
        let child = Command::new("unshare")
            .args(["--mount", "--pid", "--net", "--fork", "--kill-child", "--", "sh", "-c", LAY_OVERLAY, "sh"])
            .arg(root)
            .arg(std::env::current_exe().unwrap())
            .arg(place.path())
            .args(itself(&name))
            .env(INSIDE, &name)
            .env_remove("TMPDIR")
            .output()
            .unwrap();
        let said = [child.stdout, child.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        // Its lines are marked, so that nobody counts its result beside ours.
        let said: String = said.lines().map(|line| format!("| {line}\n")).collect();
        assert!(child.status.code() != Some(77), "this machine can't lay an overlay:\n{said}");
        assert!(child.status.success() && said.contains("1 passed"), "in the root:\n{said}");
    }
}

/// Locks a file as dpkg does, until somebody kills this process.
fn hold(path: &str) {
    use nix::fcntl::{FcntlArg, fcntl};
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
    let lock = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_SETLKW(&lock)).unwrap();
    fs::write("/run/held", "").unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

fn holder(path: &str) -> Child {
    let child = Command::new("/test").args(itself(&test_name())).env(HOLD, path).stdout(Stdio::null()).spawn().unwrap();
    wait_for("/run/held");
    child
}

fn wait_for(path: &str) {
    let start = Instant::now();
    while !Path::new(path).exists() {
        assert!(start.elapsed() < Duration::from_secs(20), "{path} doesn't come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn packages(names: &[&str]) -> Packages {
    Packages::new(names.iter().map(|name| (*name).to_owned()))
}

/// As a run does: what comes along is known before anything changes.
fn install(host: &mut Host, names: &[&str]) -> Result<(Packages, Versions)> {
    let expanded = packages(names).with_dependencies(host)?;
    let before = expanded.observe(host)?;
    expanded.set(host, &expanded.wanted())?;
    Ok((expanded, before))
}

fn sh(script: &str) {
    let out = Command::new("sh").args(["-e", "-c", script]).output().unwrap();
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
}

fn apt_get(words: &str) {
    sh(&format!("DEBIAN_FRONTEND=noninteractive apt-get -y -q {words}"));
}

/// Every file with what would show a write to it; what apt and dpkg keep about their own doings is left out.
fn files(but: &[&str]) -> BTreeMap<String, String> {
    fn walk(dir: &Path, but: &[&str], found: &mut BTreeMap<String, String>) {
        let device = fs::metadata("/").unwrap().dev();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let name = path.to_str().unwrap().to_owned();
            if but.contains(&name.as_str()) || meta.dev() != device {
                continue;
            }
            let time = (meta.mtime(), meta.mtime_nsec());
            let looks = if meta.is_dir() {
                format!("{:o}", meta.mode())
            } else {
                format!("{:o} {} {time:?}", meta.mode(), meta.ino())
            };
            found.insert(name, looks);
            if meta.is_dir() {
                walk(&path, but, found);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(Path::new("/"), but, &mut found);
    found
}

/// Asserts that no file came, went or was written to.
fn untouched(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
    let differs = |path: &&String| before.get(*path) != after.get(*path);
    let changed: BTreeSet<&String> = before.keys().chain(after.keys()).filter(differs).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

/// What apt takes for brought along by others.
fn automatic() -> BTreeSet<String> {
    let said = Command::new("apt-mark").arg("showauto").output().unwrap().stdout;
    String::from_utf8(said).unwrap().lines().map(str::to_owned).collect()
}

const OWN_DOINGS: &[&str] = &["/var/lib/dpkg", "/var/lib/apt", "/var/cache", "/var/log", "/test", "/tmp", "/run"];

#[test]
fn packages_come_with_what_they_need_and_go_without_a_trace() {
    in_root(|host| {
        let (files_before, automatic_before) = (files(OWN_DOINGS), automatic());
        let (tools, before) = install(host, &["wireguard-tools", "inquisitive"]).unwrap();
        assert_eq!(tools.brings, ["libtoy"]);
        assert!(tools.wanted().is_met_by(&tools.observe(host).unwrap()));
        assert!(!tools.wanted().is_met_by(&before));
        let status = DpkgRecord::read(host).unwrap();
        assert_eq!(status.version("linux-image-9.9-toy"), None, "a recommended kernel came along");
        let answers = fs::read_to_string("/run/inquisitive").unwrap();
        assert_eq!(answers, "frontend=noninteractive needrestart=1\nnobody answers\n");
        assert!(automatic().difference(&automatic_before).eq(["libtoy"]));

        let again = packages(&["wireguard-tools", "inquisitive"]).with_dependencies(host).unwrap();
        assert!(again.brings.is_empty() && again.wanted().is_met_by(&again.observe(host).unwrap()));

        tools.set(host, &before).unwrap();
        assert_eq!(tools.observe(host).unwrap(), before);
        assert_eq!(DpkgRecord::read(host).unwrap().entry("wireguard-tools").map(|e| e.letters.clone()), None);
        untouched(&files_before, &files(OWN_DOINGS));
    });
}

#[test]
fn the_progress_of_apt_is_reported() {
    in_root(|host| {
        apt_get("update");
        let (tell, heard) = mpsc::channel();
        host.report_to(Arc::new(move |advance| drop(tell.send(advance))));
        install(host, &["wireguard-tools"]).unwrap();
        // The last of it may come in after apt has ended.
        let mut all = Vec::new();
        while all.last().is_none_or(|last: &Advance| !last.doing.starts_with("Installed wireguard-tools")) {
            all.push(heard.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("{all:?}")));
        }
        assert!(all.iter().any(|advance| advance.doing.contains("Unpacking wireguard-tools")), "{all:?}");
        assert!(all.iter().any(|advance| advance.doing.contains("Configuring libtoy")), "{all:?}");
    });
}

#[test]
fn a_plan_names_what_comes_along() {
    in_root(|host| {
        apt_get("update");
        let tools = packages(&["wireguard-tools"]);
        let state = tools.wanted();
        let wanted = vec![Goal { resource: tools, state }.into()];
        let plan = Plan::diff(host, wanted.clone()).unwrap();
        assert_eq!(plan.steps[0].to_string(), "install package wireguard-tools (with libtoy)");
        install(host, &["wireguard-tools"]).unwrap();
        assert!(Plan::diff(host, wanted).unwrap().is_empty());
    });
}

#[test]
fn a_package_that_was_installed_before_stays() {
    in_root(|host| {
        apt_get("update");
        apt_get("install libtoy");
        let (tools, before) = install(host, &["wireguard-tools"]).unwrap();
        assert!(tools.brings.is_empty());
        tools.set(host, &before).unwrap();
        assert_eq!(DpkgRecord::read(host).unwrap().version("libtoy"), Some("1.0"));
    });
}

#[test]
fn configuration_left_from_an_earlier_installation_is_left_again() {
    in_root(|host| {
        apt_get("update");
        apt_get("install --no-install-recommends wireguard-tools");
        fs::write("/etc/wireguard-toy.conf", "mine").unwrap();
        apt_get("remove wireguard-tools");
        let (tools, before) = install(host, &["wireguard-tools"]).unwrap();
        assert_eq!(tools.leftovers, ["wireguard-tools"]);
        assert_eq!(fs::read_to_string("/etc/wireguard-toy.conf").unwrap(), "mine");
        tools.set(host, &before).unwrap();
        assert_eq!(tools.observe(host).unwrap(), before);
        assert_eq!(fs::read_to_string("/etc/wireguard-toy.conf").unwrap(), "mine");
    });
}

#[test]
fn a_held_lock_is_waited_for_and_its_holder_named() {
    in_root(|host| {
        let tools = packages(&["wireguard-tools"]).with_dependencies(host).unwrap();
        for path in ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"] {
            let mut child = holder(path);
            assert_eq!(
                lock_holder(host).unwrap(),
                Some(LockHolder::Process(Process { name: "test".into(), pid: child.id() }))
            );
            let waits = std::thread::spawn({
                let tools = tools.clone();
                move || tools.set(&mut Host::live(), &tools.wanted())
            });
            std::thread::sleep(Duration::from_secs(1));
            assert_eq!(DpkgRecord::read(host).unwrap().version("wireguard-tools"), None, "{path} was not waited for");
            assert!(child.try_wait().unwrap().is_none(), "the holder was killed");
            child.kill().unwrap();
            child.wait().unwrap();
            fs::remove_file("/run/held").unwrap();
            waits.join().unwrap().unwrap();
            assert_eq!(lock_holder(host).unwrap(), None);
            let gone = tools.names.iter().chain(&tools.brings).map(|name| (name.clone(), None)).collect();
            tools.set(host, &Versions { packages: gone }).unwrap();
        }
    });
}

#[test]
fn a_dead_mirror_is_noticed_although_apt_says_0() {
    in_root(|host| {
        fs::write("/etc/apt/sources.list", "deb http://127.0.0.1:9/debian stable main\n").unwrap();
        apt_get("update");
        let error = packages(&["wireguard-tools"]).with_dependencies(host).unwrap_err();
        assert!(
            error.to_string().contains("no package wireguard-tools: Failed to fetch http://127.0.0.1:9"),
            "{error}"
        );
        assert_eq!(error.way_out().as_deref(), Some("apt-get update; apt-cache policy wireguard-tools"));
    });
}

#[test]
fn a_dead_source_beside_a_living_one_is_no_obstacle() {
    in_root(|host| {
        fs::write("/etc/apt/sources.list.d/dead.list", "deb [trusted=yes] file:/srv/nowhere dead main\n").unwrap();
        let (tools, _) = install(host, &["wireguard-tools"]).unwrap();
        assert!(tools.wanted().is_met_by(&tools.observe(host).unwrap()));
        let facts = facts::packages::gather(&facts::Reading::of(host), None, "");
        let dead: Vec<_> = facts.sources.unwrap().into_iter().filter(|s| !s.fetched).map(|s| s.suite).collect();
        assert_eq!(dead, ["dead"]);
    });
}

#[test]
fn a_tampered_archive_is_not_installed_from() {
    in_root(|host| {
        let release = "/srv/archive/dists/stable/InRelease";
        fs::write(release, fs::read_to_string(release).unwrap().replace("Origin: Toys", "Origin: Toxic")).unwrap();
        let error = packages(&["wireguard-tools"]).with_dependencies(host).unwrap_err().to_string();
        assert!(error.contains("no package wireguard-tools") && error.contains("BADSIG"), "{error}");
    });
}

#[test]
fn a_replaced_package_file_is_found_with_new_lists() {
    in_root(|host| {
        apt_get("update");
        // The archive moves on: the same package under another name, which only new lists know.
        sh("cd /srv/archive
            mv pool/libtoy.deb pool/libtoy-2.deb
            sed -i s/libtoy.deb/libtoy-2.deb/ dists/stable/main/binary-all/Packages
            rm dists/stable/*Release");
        fs::write("/etc/apt/sources.list", "deb [trusted=yes] file:/srv/archive stable main\n").unwrap();
        let tools = packages(&["wireguard-tools"]).with_dependencies(host).unwrap();
        tools.set(host, &tools.wanted()).unwrap();
        assert!(tools.wanted().is_met_by(&tools.observe(host).unwrap()));
    });
}

#[test]
fn a_failed_build_is_one_cause_and_the_next_run_mends_it() {
    in_root(|host| {
        fs::write("/etc/dkms-fails", "").unwrap();
        let error = install(host, &["wireguard-dkms"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "apt-get install wireguard-dkms: the module doesn't build: main.c:7:1: error: unknown type name 'toy'; \
             half installed: wireguard-dkms (iF)"
        );
        assert_eq!(error.way_out().as_deref(), Some("less /var/lib/dkms/wireguard/1.0/build/make.log"));
        let dkms = packages(&["wireguard-dkms"]);
        assert!(!dkms.wanted().is_met_by(&dkms.observe(host).unwrap()));

        fs::remove_file("/etc/dkms-fails").unwrap();
        install(host, &["wireguard-dkms"]).unwrap();
        assert!(dkms.wanted().is_met_by(&dkms.observe(host).unwrap()));
    });
}

#[test]
fn a_half_configured_package_can_be_taken_back() {
    in_root(|host| {
        fs::write("/etc/dkms-fails", "").unwrap();
        install(host, &["wireguard-dkms"]).unwrap_err();
        let dkms = packages(&["wireguard-dkms"]);
        dkms.set(host, &Versions { packages: [("wireguard-dkms".to_owned(), None)].into() }).unwrap();
        assert!(DpkgRecord::read(host).unwrap().entry("wireguard-dkms").is_none());
    });
}

#[test]
fn no_package_is_installed_or_removed_unasked() {
    in_root(|host| {
        let error = packages(&["wireguard-kernel"]).with_dependencies(host).unwrap_err().to_string();
        assert!(error.contains("another kernel, linux-image-9.9-toy"), "{error}");
        install(host, &["wireguard-tools"]).unwrap();
        let error = packages(&["wireguard-rival"]).with_dependencies(host).unwrap_err().to_string();
        assert!(error.contains("would remove wireguard-tools"), "{error}");
    });
}

#[test]
fn a_package_that_others_need_by_now_stays_and_the_reason_is_given() {
    in_root(|host| {
        let (tools, before) = install(host, &["wireguard-tools"]).unwrap();
        apt_get("install --no-install-recommends wireguard");
        let error = tools.set(host, &before).unwrap_err().to_string();
        assert_eq!(error, "wireguard-tools, libtoy: wireguard needs it by now");
        let reason = tools.must_stay(host, &before).unwrap().map(|reason| reason.to_string());
        assert_eq!(reason.as_deref(), Some("wireguard needs it by now"));
        assert!(tools.wanted().is_met_by(&tools.observe(host).unwrap()));
    });
}

#[test]
fn an_installation_that_was_cut_off_is_finished_by_the_next_run() {
    in_root(|host| {
        apt_get("update");
        let slow = packages(&["slow"]);
        let mut apt = Command::new("apt-get").args(["-y", "install", "slow"]).stdout(Stdio::null()).spawn().unwrap();
        wait_for("/run/slow-began");
        // Power is gone: apt, dpkg and the script at once.
        apt.kill().unwrap();
        sh("for p in /proc/[0-9]*; do case $(cat $p/comm) in dpkg | slow.postinst) kill -9 ${p#/proc/};; esac; done");
        apt.wait().unwrap();
        let facts = facts::packages::gather(&facts::Reading::of(host), None, "");
        assert!(facts.interrupted || facts.broken.contains_key("slow"), "{facts:?}");
        let slow = slow.with_dependencies(host).unwrap();
        slow.set(host, &slow.wanted()).unwrap();
        assert!(slow.wanted().is_met_by(&slow.observe(host).unwrap()));
        let facts = facts::packages::gather(&facts::Reading::of(host), None, "");
        assert!(!facts.interrupted && facts.broken.is_empty(), "{facts:?}");
    });
}

#[test]
fn asking_changes_nothing_with_or_without_apts_cache() {
    in_root(|host| {
        let distro = Distro::detect(&facts::os::gather(host).unwrap()).ok();
        let ask = |host: &Host| {
            let before = files(&["/test"]);
            let facts = facts::packages::gather(&facts::Reading::of(host), distro.as_ref(), "");
            let preview = packages(&["wireguard-tools"]).preview(host).unwrap();
            untouched(&before, &files(&["/test"]));
            (facts, preview)
        };
        let (facts, preview) = ask(host);
        assert_eq!((facts.lists_age, preview.brings), (None, vec![]));
        assert_eq!(facts.known["wireguard-tools"].candidate, None);

        apt_get("update");
        Command::new("apt-cache").args(["policy", "apt"]).output().unwrap();
        assert!(Path::new("/var/cache/apt/pkgcache.bin").exists());
        for stale in [false, true] {
            if stale {
                fs::File::open("/var/lib/dpkg/status").unwrap().set_modified(std::time::SystemTime::now()).unwrap();
            }
            let (facts, preview) = ask(host);
            assert_eq!(facts.known["wireguard-tools"].candidate.as_deref(), Some("1.0"));
            assert_eq!(preview.brings, ["libtoy"]);
            assert!(facts.lists_age.is_some_and(|age| age < 60));
        }
    });
}

#[test]
fn a_malformed_source_is_reported_in_apts_words() {
    in_root(|host| {
        fs::write("/etc/apt/sources.list.d/broken.list", "deb nonsense\n").unwrap();
        let distro = Distro::detect(&facts::os::gather(host).unwrap()).ok();
        let facts = facts::packages::gather(&facts::Reading::of(host), distro.as_ref(), "");
        assert!(facts.sources.unwrap_err().to_string().contains("/etc/apt/sources.list.d/broken.list"));
        let error = packages(&["wireguard-tools"]).with_dependencies(host).unwrap_err().to_string();
        assert!(error.contains("apt can't read its sources: Malformed entry 1"), "{error}");
    });
}

const LIST: &str = "/etc/apt/sources.list.d/dropped.list";

/// A suite past its date, which some say they have.
fn dropped(mirror: Option<&str>, archive: Option<&str>) -> AptSource {
    AptSource {
        path: LIST.into(),
        suite: "dropped".into(),
        // The root has its main suite from there already.
        beside: Vec::new(),
        mirror: mirror.map(str::to_owned),
        archive: archive.map(str::to_owned),
    }
}

#[test]
fn a_suite_that_the_mirror_has_dropped_comes_from_the_archive() {
    in_root(|host| {
        assert!(packages(&["dropped-toy"]).with_dependencies(host).is_err(), "known before its suite was added");
        for mirror in ["file:/srv/nowhere", "file:/srv/archive"] {
            // Gone from the one, past its date at the other.
            let source = dropped(Some(mirror), Some("file:/srv/archive"));
            source.set(host, &SourceFile::Present).unwrap();
            assert_eq!(source.observe(host).unwrap(), SourceFile::Present);
            let text = fs::read_to_string(LIST).unwrap();
            assert!(text.contains("deb [check-valid-until=no] file:/srv/archive dropped main"), "{text}");
            install(host, &["dropped-toy"]).unwrap();
            apt_get("remove dropped-toy");
            source.set(host, &SourceFile::Absent).unwrap();
            assert!(!Path::new(LIST).exists());
        }
    });
}

#[test]
fn a_source_that_does_not_work_is_removed_and_harms_no_other() {
    in_root(|host| {
        sh("apt-get -q update");
        let lists = || fs::read_dir("/var/lib/apt/lists").unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
        let before = lists().len();
        for source in [dropped(None, None), dropped(Some("file:/srv/archive"), None)] {
            let error = source.set(host, &SourceFile::Present).unwrap_err();
            assert!(error.to_string().contains("nobody has the suite dropped"), "{error}");
            assert!(error.way_out().unwrap().contains("--apt-mirror"), "{error}");
            assert!(!Path::new(LIST).exists());
        }
        assert!(lists().len() >= before, "somebody else's lists went");
        packages(&["wireguard-tools"]).with_dependencies(host).unwrap();
    });
}

#[test]
fn a_bad_signature_is_refused_from_the_archive_too() {
    in_root(|host| {
        sh("sed -i 's/^Codename: dropped/Codename: tampered/' /srv/archive/dists/dropped/InRelease");
        let error = dropped(None, Some("file:/srv/archive")).set(host, &SourceFile::Present).unwrap_err();
        assert!(error.to_string().contains("nobody has the suite dropped"), "{error}");
        assert!(!Path::new(LIST).exists());
    });
}
