//! A system call that fails: each that a command would change files with, each with several errors.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::call::{Call, Ran};

/// Errors of a disk that is full, broken, read-only or beyond a quota, and of a signal that comes in between.
pub const ERRORS: [&str; 5] = ["ENOSPC", "EIO", "EROFS", "EDQUOT", "EINTR"];

/// System calls by which files change, or by which a change becomes durable.
const CALLS: &str = "open,openat,openat2,write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,rmdir,\
                     mkdir,mkdirat,link,linkat,symlink,symlinkat,fchmod,fchmodat,fchown,fchownat,fsetxattr";

/// One system call of a command: its name, and the how many-th of that name in its process it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    name: String,
    nth: usize,
    /// The call, as strace showed it.
    shown: String,
}

impl Moment {
    /// Runs a call that is killed when it enters this system call.
    pub fn kill(&self, call: Call) -> Ran {
        let Moment { name, nth, .. } = self;
        let (trace, inject) = (format!("trace={name}"), format!("inject={name}:signal=SIGKILL:when={nth}"));
        call.under(["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject]).run()
    }
}

/// A moment, and the error that the kernel is to answer with.
pub struct Fault<'m> {
    pub moment: &'m Moment,
    pub error: &'static str,
}

impl Fault<'_> {
    /// Runs a call in which this system call fails.
    pub fn strike(&self, call: Call) -> Ran {
        let Moment { name, nth, .. } = self.moment;
        let (trace, inject) = (format!("trace={name}"), format!("inject={name}:error={}:when={nth}", self.error));
        call.under(["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject]).run()
    }

    /// The same for a command of this machine.
    pub fn strike_command(&self, command: &Command) -> Output {
        let Moment { name, nth, .. } = self.moment;
        let inject = format!("inject={name}:error={}:when={nth}", self.error);
        under_strace(command, &["-o", "/dev/null", "-e", &format!("trace={name}"), "-e", &inject])
    }
}

/// The moments of a call at which one of these files or directories changes: paths of this machine, or parts of them.
/// strace is run on this machine.
pub fn moments(call: Call, places: &[&str]) -> Vec<Moment> {
    let file = trace_file();
    call.under(["strace", "-f", "-y", "-qq", "-s", "256", "-o", &file, "-e", &format!("trace={CALLS}")]).run().exits(0);
    moments_in(&file, places)
}

/// The same for a command of this machine.
pub fn moments_of(command: &Command, places: &[&str]) -> Vec<Moment> {
    let file = trace_file();
    let ran = under_strace(command, &["-y", "-s", "256", "-o", &file, "-e", &format!("trace={CALLS}")]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    moments_in(&file, places)
}

fn under_strace(command: &Command, options: &[&str]) -> Output {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq"]).args(options).arg(command.get_program()).args(command.get_args());
    strace.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    strace.output().expect("strace is there")
}

fn trace_file() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("/tmp/mitigator-vpn-faults-{}-{number}", std::process::id())
}

fn moments_in(file: &str, places: &[&str]) -> Vec<Moment> {
    let text = std::fs::read_to_string(file).expect("strace has written it");
    std::fs::remove_file(file).expect("our own file");
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut found: BTreeMap<(String, usize), Moment> = BTreeMap::new();
    let mut order = Vec::new();
    for line in text.lines() {
        // `812  openat(AT_FDCWD</root>, "f", O_RDONLY) = 3</root/f>`; of a call in two lines, the first.
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let Some((name, arguments)) = rest.trim_start().split_once('(') else { continue };
        if !CALLS.split(',').any(|known| known == name) {
            continue;
        }
        let nth = counts.entry((process, name)).or_default();
        *nth += 1;
        let opens = name.starts_with("open");
        let changes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| arguments.contains(flag));
        let key = (name.to_owned(), *nth);
        if (!opens || changes) && places.iter().any(|place| line.contains(place)) && !found.contains_key(&key) {
            order.push(key.clone());
            found.insert(
                key,
                Moment { name: name.to_owned(), nth: *nth, shown: rest.trim_start().chars().take(200).collect() },
            );
        }
    }
    assert!(!order.is_empty(), "no moment at all: is strace counting?\n{text}");
    order.into_iter().map(|key| found.remove(&key).expect("it was found")).collect()
}

/// Which of the errors each moment gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Errors {
    /// One, another one for the next moment.
    InTurn,
    All,
}

/// Tries every moment with its errors. The scenario says how the struck run ended. All that goes wrong is told at once.
pub fn each_fault(moments: &[Moment], errors: Errors, scenario: impl Fn(usize, &Fault) -> Option<i32>) {
    let (mut ends, mut wrong) = (BTreeMap::<(&str, String), usize>::new(), Vec::new());
    let mut number = 0;
    for (at, moment) in moments.iter().enumerate() {
        let all = ERRORS.iter().enumerate();
        for (_, error) in all.filter(|(which, _)| errors == Errors::All || *which == at % ERRORS.len()) {
            let fault = Fault { moment, error };
            match catch_unwind(AssertUnwindSafe(|| scenario(number, &fault))) {
                Ok(code) => {
                    if code == Some(0) && *error != "EINTR" {
                        println!("{error} is no harm at {}", moment.shown);
                    }
                    *ends.entry((error, code.map_or("a signal".into(), |code| code.to_string()))).or_default() += 1
                }
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                    wrong.push(format!("{error} at {}:\n{}", moment.shown, text.unwrap_or_default()));
                }
            }
            number += 1;
        }
    }
    let ends: Vec<String> = ends.iter().map(|((error, code), count)| format!("{error}→{code}: {count}")).collect();
    println!("{}: {number} faults at {} moments; {}", super::test_name(), moments.len(), ends.join(", "));
    assert!(wrong.is_empty(), "{} of {number} faults do harm:\n{}", wrong.len(), wrong.join("\n----\n"));
}

/// It ended by itself with one of the program's own exit codes, and said why if it failed.
#[track_caller]
pub fn is_honest(ran: &Ran) {
    assert!(ran.code.is_some_and(|code| (0..=7).contains(&code)), "no exit code of ours\n{ran}");
    assert!(
        ran.code == Some(0) || !ran.err().trim().is_empty() || !ran.out().trim().is_empty(),
        "a silent failure\n{ran}"
    );
}
