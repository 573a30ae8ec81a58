//! The command lines and environments of all processes on this machine, those in containers included.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Runs a scenario and collects every command line and environment that can be seen meanwhile.
pub fn seen_during(scenario: impl FnOnce()) -> BTreeSet<Vec<u8>> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                look(&mut seen);
            }
            seen
        });
        // The watcher has to end when the scenario panics, too.
        let end = OnDrop(&over);
        scenario();
        drop(end);
        watch.join().expect("a watcher doesn't panic")
    })
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn look(seen: &mut BTreeSet<Vec<u8>>) {
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    for process in processes.flatten().filter(|p| p.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)) {
        for file in ["cmdline", "environ"] {
            // A process that has just ended can't be read.
            seen.extend(std::fs::read(process.path().join(file)));
        }
    }
}
