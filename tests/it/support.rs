//! Hosts for the tests. A test runs commands on a host, writes and reads its files, and takes snapshots of it. A
//! [`TreeHost`](tree::TreeHost) is a directory given with `--root`. A [`ContainerHost`](container::ContainerHost) runs
//! systemd, sshd and its own Docker, and can be cut off, killed and booted. A [`VmHost`](vm::VmHost) has its own kernel as
//! well. A [`NamespaceHost`](namespace::NamespaceHost) is cheap, for tests with many hosts: ssh, files and the network are
//! real, Docker is a simulation that runs the real gateway.
//!
//! A host is removed when it is dropped. When its test fails, the transcript of its commands, its journals and its logs
//! stay in `target/failures/NAME/`.

pub mod call;
pub mod container;
pub mod evidence;
pub mod fault;
pub mod golden;
pub mod life;
pub mod machine;
pub mod namespace;
pub mod operator;
pub mod private_mounts;
pub mod processes;
pub mod secret;
pub mod snapshot;
pub mod source;
pub mod strace;
pub mod tree;
pub mod vagrant;
pub mod vm;

use std::process::{Command, Stdio};

use call::Call;
use evidence::Evidence;
use snapshot::Snapshot;

/// A machine, or the tree of one.
pub trait Host: Sync {
    /// The words that start the program under test here.
    fn program(&self) -> Vec<String>;

    /// The process on *this* machine that runs a call on the host.
    fn command(&self, call: &Call) -> Command;

    /// The content of a file; `None` when there is none.
    fn read(&self, path: &str) -> Option<Vec<u8>>;

    /// Writes a file in place: the mode and owner of an existing file stay.
    fn write(&self, path: &str, bytes: impl AsRef<[u8]>)
    where
        Self: Sized;

    /// All files of the host, as they are now.
    fn snapshot(&self) -> Snapshot;

    /// The evidence kept when the test fails.
    fn evidence(&self) -> &Evidence;

    /// A call of any command; words are separated by spaces.
    fn call(&self, words: &str) -> Call<'_>
    where
        Self: Sized,
    {
        Call::new(self, words.split_whitespace())
    }

    /// A shell script.
    fn shell(&self, script: &str) -> Call<'_>
    where
        Self: Sized,
    {
        Call::new(self, ["sh", "-c", script])
    }

    /// A call of the program under test; arguments are separated by spaces.
    fn vpn(&self, arguments: &str) -> Call<'_>
    where
        Self: Sized,
    {
        Call::new(self, self.program().iter().map(String::as_str).chain(arguments.split_whitespace()))
    }

    /// A text file, which must exist.
    #[track_caller]
    fn text(&self, path: &str) -> String {
        let bytes = self.read(path).unwrap_or_else(|| panic!("{path} is not there"));
        String::from_utf8(bytes).unwrap_or_else(|_| panic!("{path} is no text"))
    }
}

/// The name of the running test, with its modules: `containers::fleet::bed::…`. libtest names the test's thread by it.
pub fn test_name() -> String {
    let thread = std::thread::current();
    let name = thread.name().filter(|name| *name != "main");
    name.expect("--test-threads=1 runs a test on the main thread, where it has no name: use 2").to_owned()
}

/// The arguments with which this executable runs that test alone, in namespaces or a root that the caller has made.
pub fn itself(test: &str) -> [&str; 4] {
    ["--exact", test, "--nocapture", "--test-threads=2"]
}

/// Reports that the running test can't be tried here. `scripts/test` counts that as a failure.
pub fn skip(reason: &str) {
    eprintln!("SKIP {}: {reason}", test_name());
}

/// Whether this process is root; reports a SKIP if not.
pub fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip("needs root");
    }
    root
}

/// Whether this machine has a program; reports a SKIP if not.
pub fn has_program(name: &str) -> bool {
    let found = Command::new("which").arg(name).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        skip(&format!("{name} is not installed here"));
    }
    found
}
