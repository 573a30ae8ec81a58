use super::*;
use std::fs;

mod killed;

struct Bed {
    dir: tempfile::TempDir,
    host: Host,
}

impl Bed {
    fn new() -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path()).unwrap();
        Bed { dir, host }
    }

    /// A job that waits for the file `go` and notes that it was there.
    fn waiting(&self) -> Job {
        let here = self.dir.path().display();
        let script =
            format!("echo begun >>{here}/log; until [ -e {here}/go ]; do sleep 0.02; done; echo end >>{here}/log");
        job(&[&script])
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn until(&self, what: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !what() {
            assert!(Instant::now() < deadline, "{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn job(scripts: &[&str]) -> Job {
    let commands = scripts.iter().map(|script| Cmd::new("sh").args(["-c", script])).collect();
    Job { name: "test".into(), commands, when: When::Now }
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn every_command_runs_whatever_became_of_the_one_before_and_nothing_is_left() {
    let mut bed = Bed::new();
    let job = job(&["echo one; echo two >&2; exit 3", "echo \"it's\" $HOME; kill -9 $$", "pwd"]);
    bed.host.begin_job(&job).unwrap();
    let outputs = bed.host.finish_job(&job, SOON).unwrap();
    assert_eq!(outputs.iter().map(|output| output.code).collect::<Vec<_>>(), [Some(3), Some(137), Some(0)]);
    assert_eq!(outputs[0].stdout, "one\ntwo\n");
    assert!(outputs[1].stdout.starts_with("it's /"), "{outputs:?}");
    assert!(!bed.dir.path().join("var/lib/mitigator-vpn/jobs").exists());
}

#[test]
fn a_job_belongs_to_no_process_and_no_session_of_ours() {
    let mut bed = Bed::new();
    let job = job(&["cat /proc/$PPID/stat; ls -l /proc/self/fd"]);
    bed.host.begin_job(&job).unwrap();
    let printed = bed.host.finish_job(&job, SOON).unwrap().remove(0).stdout;
    let session = printed.rsplit_once(") ").map(|(_, rest)| rest.split(' ').nth(3).map(str::to_owned));
    let ours = fs::read_to_string("/proc/self/stat").unwrap();
    let own = ours.rsplit_once(") ").map(|(_, rest)| rest.split(' ').nth(3).map(str::to_owned));
    assert_ne!(session, own, "{printed}");
    assert!(!printed.contains("/lock"), "a program it leaves running would hold the lock: {printed}");
}

#[test]
fn who_prints_without_end_fills_nothing_and_isnt_ended_by_it() {
    let mut bed = Bed::new();
    let job = job(&["yes | head -c 30000000; echo $? >&2; exit 4"]);
    bed.host.begin_job(&job).unwrap();
    let output = bed.host.finish_job(&job, SOON).unwrap().remove(0);
    assert_eq!((output.code, output.stdout.len()), (Some(4), MOST_OUTPUT));
}

#[test]
fn the_next_run_waits_for_a_job_of_an_earlier_one() {
    let mut bed = Bed::new();
    let job = bed.waiting();
    bed.host.begin_job(&job).unwrap();
    bed.until(|| bed.log() == "begun\n");
    assert_eq!(bed.host.job_progress("test").unwrap(), Progress::Running);
    let root = bed.dir.path().to_owned();
    let next = thread::spawn(move || Host::at(&root).unwrap().lock().map(drop));
    thread::sleep(Duration::from_millis(200));
    assert!(!next.is_finished());
    fs::write(bed.dir.path().join("go"), "").unwrap();
    next.join().unwrap().unwrap();
    assert_eq!(bed.log(), "begun\nend\n");
    assert!(!bed.dir.path().join("var/lib/mitigator-vpn/jobs").exists());
}

#[test]
fn a_job_that_was_ended_half_way_is_run_again_by_the_next_run() {
    let mut bed = Bed::new();
    let job = bed.waiting();
    bed.host.begin_job(&job).unwrap();
    bed.until(|| bed.log() == "begun\n");
    // As a power cut leaves it: nobody holds the lock any more. The processes are the job's own session.
    let script = bed.dir.path().join("var/lib/mitigator-vpn/jobs/test/script").display().to_string();
    for process in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Ok(words) = fs::read(process.path().join("cmdline")) else { continue };
        let words = String::from_utf8_lossy(&words).into_owned();
        if words.contains(&script) || words.contains(&bed.dir.path().join("go").display().to_string()) {
            let pid = nix::unistd::Pid::from_raw(process.file_name().to_str().unwrap().parse().unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
    bed.until(|| bed.host.job_progress("test").unwrap() == Progress::Broken);
    assert!(bed.host.finish_job(&job, SOON).unwrap_err().to_string().contains("half way"));
    fs::write(bed.dir.path().join("go"), "").unwrap();
    bed.host.lock().unwrap();
    assert_eq!(bed.log(), "begun\nbegun\nend\n");
}

#[test]
fn a_job_that_waited_in_vain_for_its_start_never_begins() {
    let mut bed = Bed::new();
    let job = bed.waiting();
    bed.host.begin_job(&job).unwrap();
    bed.until(|| bed.log() == "begun\n");
    assert!(!bed.host.claim_job("test").unwrap(), "it runs");
    fs::write(bed.dir.path().join("go"), "").unwrap();
    bed.host.finish_job(&job, SOON).unwrap();
    let script = bed.host.script(&job, false);
    fs::create_dir_all(bed.dir.path().join("var/lib/mitigator-vpn/jobs/test")).unwrap();
    bed.host.write(&dir("test").join("script"), script.as_bytes(), Mode::SECRET).unwrap();
    assert!(bed.host.claim_job("test").unwrap());
    bed.host.launch("test").unwrap();
    bed.host.lock().unwrap();
    assert_eq!(bed.log(), "begun\nend\n", "once, the first time");
}

#[test]
fn a_job_for_later_excludes_nobody_and_is_forgotten() {
    let mut bed = Bed::new();
    let job = Job { when: When::After(Duration::from_secs(600)), ..bed.waiting() };
    // Without a start: there is nobody to end the one that would sleep.
    bed.host.create_dir(Path::new("/var"), Mode::DIRECTORY).unwrap();
    fs::create_dir_all(bed.dir.path().join("var/lib/mitigator-vpn/jobs/test")).unwrap();
    bed.host.write(&dir("test").join("later"), b"", Mode::SECRET).unwrap();
    let script = bed.host.script(&job, false);
    bed.host.write(&dir("test").join("script"), script.as_bytes(), Mode::SECRET).unwrap();
    bed.host.lock().unwrap();
    assert!(bed.dir.path().join("var/lib/mitigator-vpn/jobs/test/script").exists());
    bed.host.forget_job("test").unwrap();
    assert!(!bed.dir.path().join("var/lib/mitigator-vpn/jobs").exists());
}
