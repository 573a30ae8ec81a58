//! What is kept of a test that failed.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The commands of one host so far, and where everything goes if its test fails.
pub struct Evidence {
    dir: PathBuf,
    transcript: Mutex<String>,
}

impl Evidence {
    /// For the host of this name. What an earlier run kept under it goes.
    pub fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/failures").join(name);
        let _ = std::fs::remove_dir_all(&dir);
        Evidence { dir, transcript: Mutex::default() }
    }

    /// Notes what a command did.
    pub fn note(&self, text: &str) {
        if let Ok(mut transcript) = self.transcript.lock() {
            transcript.push_str(text);
        }
    }

    /// Keeps the transcript, and whatever `more` puts beside it, if the test is failing.
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
