//! A restart whose shell is killed at any of its system calls: whatever was under way then, the stack is up after the next
//! run.

use std::collections::BTreeMap;
use std::process::Command;

use super::*;

/// A compose whose stack runs where the file `up` is. What it stops first takes a while.
const COMPOSE: &str = "#!/bin/sh
cd \"${0%/*}\" || exit 1
case \"$*\" in
*down) [ -e slow ] || { : >slow; sleep 0.3; }; rm -f up ;;
*\"up -d\") : >up ;;
esac
";

/// A restart of a running stack, by compose as its generation is called.
fn restart(bed: &mut Bed, words: &[&str]) -> PathBuf {
    let (program, first) = words.split_first().unwrap();
    let program = bed.dir.path().join(program);
    fs::write(&program, COMPOSE).unwrap();
    fs::write(bed.dir.path().join("up"), "").unwrap();
    let compose = |last: &[&str]| {
        Cmd::new("sh").arg(program.display().to_string()).args(first.iter().copied()).args(last.iter().copied())
    };
    let commands = vec![compose(&["down"]), compose(&["up", "-d"])];
    let job = Job { name: "test".into(), commands, when: When::Now };
    let script = bed.host.script(&job, false);
    fs::create_dir_all(bed.dir.path().join("var/lib/mitigator-vpn/jobs/test")).unwrap();
    bed.host.write(&dir("test").join("script"), script.as_bytes(), Mode::SECRET).unwrap();
    bed.dir.path().join("var/lib/mitigator-vpn/jobs/test/script")
}

fn strace(options: &[&str], script: &Path) {
    Command::new("strace").args(["-qq"]).args(options).arg("sh").arg(script).output().unwrap();
}

/// The system calls of the job's shell from the script on: each by its name, and the how many-th of that name it is.
fn moments(words: &[&str]) -> Vec<(String, usize)> {
    let mut bed = Bed::new();
    let script = restart(&mut bed, words);
    let trace = bed.dir.path().join("trace");
    strace(&["-o", &trace.display().to_string()], &script);
    let text = fs::read_to_string(trace).unwrap();
    let (mut counts, mut found, mut begun) = (BTreeMap::<&str, usize>::new(), Vec::new(), false);
    for line in text.lines() {
        let Some((name, arguments)) = line.split_once('(') else { continue };
        let nth = counts.entry(name).or_default();
        *nth += 1;
        begun |= name.starts_with("open") && arguments.contains("/script");
        if begun && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')) {
            found.push((name.to_owned(), *nth));
        }
    }
    assert!(found.len() > 40, "is strace counting?\n{text}");
    found
}

fn is_completed_after_a_kill_at_any_system_call(words: &[&str]) {
    if !Command::new("strace").arg("-V").output().is_ok_and(|ran| ran.status.success()) {
        #[expect(clippy::print_stdout, reason = "a test that can't run says so")]
        {
            println!("SKIP: strace is not installed");
        }
        return;
    }
    let moments = moments(words);
    let is_killed = |(name, nth): &(String, usize)| {
        let mut bed = Bed::new();
        let script = restart(&mut bed, words);
        let (trace, kill) = (format!("trace={name}"), format!("inject={name}:signal=SIGKILL:when={nth}"));
        strace(&["-o", "/dev/null", "-e", &trace, "-e", &kill], &script);
        let was_killed = bed.host.job_progress("test").unwrap() != Progress::Done;
        bed.host.lock().unwrap();
        // What a killed shell has left running would have had its time by now.
        thread::sleep(Duration::from_millis(400));
        assert!(bed.dir.path().join("up").exists(), "killed at {name} {nth}, and the stack is down");
        assert!(!bed.dir.path().join("var/lib/mitigator-vpn/jobs").exists());
        was_killed
    };
    let kills: usize = thread::scope(|scope| {
        let parts = moments.chunks(moments.len().div_ceil(8));
        let threads: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter().filter(|moment| is_killed(moment)).count())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(2 * kills > moments.len(), "{kills} of {} moments", moments.len());
}

#[test]
fn a_restart_by_compose_v1_that_is_killed_at_any_system_call_is_completed_by_the_next_run() {
    is_completed_after_a_kill_at_any_system_call(&["docker-compose"]);
}

#[test]
fn a_restart_by_compose_v2_that_is_killed_at_any_system_call_is_completed_by_the_next_run() {
    is_completed_after_a_kill_at_any_system_call(&["docker", "compose"]);
}
