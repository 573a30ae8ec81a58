//! A module that dkms compiles on this host: the cause and the remedy of a failed build, and building it after all.
//!
//! A build that fails leaves its package half configured (FN-13). A build that is *skipped*, for want of headers, leaves a
//! package that looks installed in every way, and no module (FN-12).

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::host::{Cmd, Host, Output};
use crate::lang;
use crate::message;
use crate::message::{Argument, Message};

/// A small machine compiles for minutes. The deadline is for a build that hangs.
const DEADLINE: Duration = Duration::from_secs(1800);

/// make's output of a failed build. dkms removes the logs of successful ones.
pub(crate) struct MakeLog {
    path: String,
    text: String,
}

impl MakeLog {
    /// The log that dkms names in its output.
    pub(crate) fn of(host: &Host, said: &Output) -> Option<MakeLog> {
        let path = lines(said).find_map(|line| word_after(line, "Consult "))?.to_owned();
        let text = host.read_database(Path::new(&path), 16 << 20).ok()??;
        Some(MakeLog { path, text })
    }

    fn failure(&self, kernel: &str) -> Failure {
        let lines = || self.text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mentions = |words: &[&str]| lines().find(|line| words.iter().any(|words| line.contains(words)));
        if let Some(compiler) = lines().find_map(missing_compiler) {
            let cause = message!("the compiler {compiler} is missing", compiler);
            return Failure { cause, command: format!("apt-get install {compiler}") };
        }
        if mentions(&["auto.conf are missing", "scripts/basic/fixdep: "]).is_some() {
            let cause = message!("the headers of kernel {kernel} are incomplete", kernel);
            return Failure { cause, command: reinstall(kernel) };
        }
        if mentions(&["Killed signal terminated program", "fatal error: Killed"]).is_some() {
            let cause = message!("the kernel killed the compiler for want of memory");
            return Failure { cause, command: "free -m".to_owned() };
        }
        let error = mentions(&["error:"]).or_else(|| mentions(&["Error "])).or_else(|| lines().next_back());
        let cause = error.map_or_else(|| message!("make gave no reason"), Message::foreign);
        Failure { cause, command: format!("less {}", self.path) }
    }
}

/// Why dkms has not built a module.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) cause: Message,
    /// The remedy, or a command that shows more.
    pub(crate) command: String,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::unexpected(failure.cause).hint(Message::command(failure.command))
    }
}

/// The compiler in a line such as `make[1]: gcc-8: Command not found`.
fn missing_compiler(line: &str) -> Option<&str> {
    let endings = [": Command not found", ": command not found", ": not found", ": No such file or directory"];
    let program = endings.iter().find_map(|ending| line.strip_suffix(ending))?.rsplit(": ").next()?;
    program.starts_with("gcc").then_some(program)
}

/// Why dkms failed; `None` if something else did.
pub(crate) fn failure(said: &Output, log: Option<&MakeLog>) -> Option<Failure> {
    let mentions = |words: &str| lines(said).find(|line| line.contains(words));
    if let Some(line) = mentions("Your kernel headers for kernel") {
        return Some(no_headers(word_after(line, "for kernel ").unwrap_or("$(uname -r)")));
    }
    if mentions("BUILD_EXCLUSIVE").is_some() {
        let cause = message!("dkms won't build for this kernel, which has the module itself");
        return Some(Failure { cause, command: "modprobe wireguard".to_owned() });
    }
    let line = mentions("Bad return status for module build")?;
    let kernel = word_after(line, "on kernel: ").unwrap_or("$(uname -r)");
    let Failure { cause, command } = match log {
        Some(log) => log.failure(kernel),
        None => Failure { cause: message!("dkms has left no make.log"), command: "dkms status".to_owned() },
    };
    Some(Failure { cause: message!("the module doesn't build: {cause}", cause), command })
}

/// Lets dkms compile a module for this kernel. Returns false where dkms has no source of it.
pub(crate) fn build(host: &mut Host, module: &str, kernel: &str) -> Result<bool> {
    let tree = format!("/var/lib/dkms/{module}");
    let mut newest = None;
    for version in host.list(Path::new(&tree))? {
        if is_there(host, &format!("{tree}/{version}/source"))? {
            newest = Some(version);
        }
    }
    let Some(version) = newest else { return Ok(false) };
    if !has_headers(host, kernel)? {
        return Err(no_headers(kernel).into());
    }
    lang::info(&message!("having dkms build {module} {version} for {kernel}", module, version = &version, kernel));
    // Forced, because dkms may remember a module that somebody has removed since.
    let cmd = Cmd::new("dkms").args(["install", "--force", "-m", module, "-v", &version, "-k", kernel]);
    let said = host.run(&cmd.deadline(DEADLINE))?;
    if said.ok() {
        return Ok(true);
    }
    let failure = failure(&said, MakeLog::of(host, &said).as_ref()).unwrap_or_else(|| {
        let last = lines(&said).rfind(|line| !line.is_empty()).map(Argument::from);
        let reason = last.unwrap_or_else(|| message!("it gave no reason").into());
        Failure { cause: message!("dkms: {reason}", reason), command: format!("dkms status {module}") }
    });
    Err(failure.into())
}

/// Whether dkms could build for this kernel. dkms itself looks for this directory, not for a package.
pub(crate) fn has_headers(host: &Host, kernel: &str) -> Result<bool> {
    is_there(host, &format!("/lib/modules/{kernel}/build/include"))
}

fn no_headers(kernel: &str) -> Failure {
    let cause = message!("dkms can't build the module: the headers of kernel {kernel} are missing", kernel);
    Failure { cause, command: reinstall(kernel) }
}

/// `--reinstall` also covers headers that dpkg still lists and that are gone. Installing them makes dkms build what was
/// skipped.
fn reinstall(kernel: &str) -> String {
    format!("apt-get install --reinstall linux-headers-{kernel}")
}

fn is_there(host: &Host, path: &str) -> Result<bool> {
    Ok(host.stat(Path::new(path))?.is_some())
}

fn lines(said: &Output) -> impl DoubleEndedIterator<Item = &str> {
    said.stderr.lines().chain(said.stdout.lines()).map(str::trim)
}

fn word_after<'a>(line: &'a str, words: &str) -> Option<&'a str> {
    line.split_once(words)?.1.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: &str = "Error! Bad return status for module build on kernel: 4.19.0-21-amd64 (x86_64)\n\
                          Consult /var/lib/dkms/wireguard/1.0/build/make.log for more information.\n";

    fn because(make_says: &str) -> Failure {
        let said = Output { code: Some(10), stderr: FAILED.into(), ..Output::default() };
        let log = MakeLog { path: "/var/lib/dkms/wireguard/1.0/build/make.log".into(), text: make_says.into() };
        failure(&said, Some(&log)).unwrap()
    }

    #[test]
    fn a_failed_build_has_one_cause_and_the_command_that_mends_it() {
        for (make_says, cause, hint) in [
            (
                "  CC [M] main.o\nmain.c:7:1: error: unknown type name 'x'\nmake: *** [Makefile:1: all] Error 2\n",
                "main.c:7:1: error: unknown type name 'x'",
                "less /var/lib/dkms/wireguard/1.0/build/make.log",
            ),
            (
                "/bin/sh: 1: gcc-8: not found\nmake[1]: *** [Makefile:308: main.o] Error 127\n",
                "the compiler gcc-8 is missing",
                "apt-get install gcc-8",
            ),
            (
                "make[1]: gcc-10: No such file or directory\n",
                "the compiler gcc-10 is missing",
                "apt-get install gcc-10",
            ),
            (
                "  ERROR: Kernel configuration is invalid.\n         include/generated/autoconf.h or \
                 include/config/auto.conf are missing.\nmake: *** Error 1\n",
                "the headers of kernel 4.19.0-21-amd64 are incomplete",
                "apt-get install --reinstall linux-headers-4.19.0-21-amd64",
            ),
            (
                "gcc: fatal error: Killed signal terminated program cc1\ncompilation terminated.\n",
                "the kernel killed the compiler for want of memory",
                "free -m",
            ),
        ] {
            let failure = because(make_says);
            assert_eq!(failure.cause.to_string(), format!("the module doesn't build: {cause}"));
            assert_eq!(failure.command, hint);
        }
    }

    #[test]
    fn missing_headers_are_named_with_their_kernel() {
        let stderr = "Error! Your kernel headers for kernel 4.19.0-21-amd64 cannot be found at\n\
                      /lib/modules/4.19.0-21-amd64/build or /lib/modules/4.19.0-21-amd64/source.\n";
        let said = Output { code: Some(1), stderr: stderr.into(), ..Output::default() };
        let Failure { cause, command } = failure(&said, None).unwrap();
        assert_eq!(cause.to_string(), "dkms can't build the module: the headers of kernel 4.19.0-21-amd64 are missing");
        assert_eq!(command, "apt-get install --reinstall linux-headers-4.19.0-21-amd64");
        assert_eq!(failure(&Output::default(), None), None);
    }

    #[test]
    fn what_dkms_has_no_source_of_is_not_built_and_without_headers_nothing_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        assert!(!build(&mut host, "wireguard", "4.19.0-21-amd64").unwrap());
        std::fs::create_dir_all(dir.path().join("usr/src/wireguard-1.0")).unwrap();
        std::fs::create_dir_all(dir.path().join("var/lib/dkms/wireguard/1.0")).unwrap();
        let source = dir.path().join("var/lib/dkms/wireguard/1.0/source");
        std::os::unix::fs::symlink("/usr/src/wireguard-1.0", source).unwrap();
        let error = build(&mut host, "wireguard", "4.19.0-21-amd64").unwrap_err();
        assert!(error.to_string().contains("the headers of kernel 4.19.0-21-amd64 are missing"), "{error}");
    }
}
