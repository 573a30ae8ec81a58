//! What holds from the first instruction on, whatever the caller's limits and umask are.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::Host;
use crate::support::tree::TreeHost;
use crate::unit::readonly::INSTANCE;

const BINARY: &str = env!("CARGO_BIN_EXE_mitigator-vpn");

/// A process that is killed when it is dropped.
struct Waiting {
    child: Child,
    /// Where a core dump would be.
    _dir: tempfile::TempDir,
}

impl Waiting {
    /// Started with core dumps allowed and a umask that takes every right.
    fn start(program: &str) -> Waiting {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("ulimit -c unlimited && umask 0777 && exec {program}");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
        Waiting { child: command.process_group(0).spawn().unwrap(), _dir: dir }
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }

    /// Whether it leaves a core dump when it crashes, however its limit has been raised since.
    fn dumps_core(mut self) -> bool {
        let pid = self.child.id().to_string();
        let raised = Command::new("prlimit").args(["--pid", &pid, "--core=unlimited:unlimited"]).status().unwrap();
        assert!(raised.success());
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGSEGV).unwrap();
        self.child.wait().unwrap().core_dumped()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_process_that_holds_keys_leaves_no_core_dump() {
    let gateway = Waiting::start(&format!("{BINARY} gateway run --public /none --private /none"));
    // The shell has the first umask, the program the last.
    until("its umask is its own", || {
        let status = gateway.proc("status");
        status.contains("mitigator-vpn") && status.contains("Umask:\t0022")
    });
    let limits = gateway.proc("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("that limit");
    assert_eq!(core.split_whitespace().nth(4), Some("1"), "{core}");
    // Where this machine writes core dumps at all.
    let other = Waiting::start("sleep 60");
    until("it sleeps", || other.proc("comm") == "sleep\n");
    if other.dumps_core() {
        assert!(!gateway.dumps_core());
    }
}

#[test]
fn a_umask_that_takes_every_right_takes_none_from_what_install_makes() {
    let modes = |umask: &str| {
        let tree = TreeHost::bare();
        let words =
            format!("umask {umask} && exec {} install {INSTANCE} --yes --stack default", tree.vpn("").words.join(" "));
        tree.shell(&words).run().exits(0);
        let listed = Command::new("find").arg(tree.at("/")).args(["-printf", "%m %P\n"]).output().unwrap();
        let mut lines: Vec<String> = String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(modes("0777"), modes("0022"));
}
