//! The evidence kept of a failed test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The transcript of one host, and the directory for its evidence.
pub struct Evidence {
    dir: PathBuf,
    transcript: Mutex<String>,
}

impl Evidence {
    /// For a host of the running test. The first one removes the evidence of earlier runs.
    pub fn of(host: &str) -> Self {
        static SEEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        let test = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/failures").join(super::test_name());
        if SEEN.lock().is_ok_and(|mut seen| seen.insert(test.clone())) {
            let _ = std::fs::remove_dir_all(&test);
        }
        Evidence { dir: test.join(host), transcript: Mutex::default() }
    }

    /// Adds to the transcript.
    pub fn note(&self, text: &str) {
        if let Ok(mut transcript) = self.transcript.lock() {
            transcript.push_str(text);
        }
    }

    /// Keeps the transcript, and what `more` adds to it, if the test is failing.
    pub fn keep_on_failure(&self, more: impl FnOnce(&Path)) {
        if !std::thread::panicking() {
            return;
        }
        if let Err(error) = std::fs::create_dir_all(&self.dir) {
            eprintln!("cannot keep evidence in {}: {error}", self.dir.display());
            return;
        }
        let transcript = self.transcript.lock().map(|text| text.clone()).unwrap_or_default();
        let _ = std::fs::write(self.dir.join("transcript.txt"), transcript);
        more(&self.dir);
        eprintln!("what is left of it: {}", self.dir.display());
    }
}
