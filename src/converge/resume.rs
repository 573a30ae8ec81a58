//! Continues an install after a reboot. A run that needs one leaves a systemd unit behind, which runs the install again once
//! the host is up; that run removes the unit.
//!
//! Everything the unit needs is in one directory: this executable and the list that `--peers` named. Both may have been in
//! `/tmp`, which a reboot empties.

use std::path::{Path, PathBuf};

use crate::converge::journal::STATE_DIR;
use crate::error::{Context, Result};
use crate::host::{Cmd, Host, Mode};
use crate::message;

/// The unit's name, for `systemctl` and `journalctl -u`.
pub(crate) const UNIT: &str = "mitigator-vpn-resume.service";

const UNITS: &str = "/etc/systemd/system";

/// The file that `--peers` names in the continued run.
pub(crate) fn peers() -> PathBuf {
    dir().join("peers.conf")
}

/// Installs the unit that calls this program with these arguments after the next boot. `list` is written to [`peers`].
/// Returns false where systemd doesn't run.
pub(crate) fn arm(host: &mut Host, arguments: &[String], list: Option<&str>) -> Result<bool> {
    if host.stat(Path::new("/run/systemd/system"))?.is_none() {
        return Ok(false);
    }
    host.create_dir(&dir(), Mode::DIRECTORY)?;
    if !is_resumed()? {
        host.write(&program(), &Host::running_program()?, Mode::PROGRAM)?;
    }
    if let Some(list) = list {
        host.write(&peers(), list.as_bytes(), Mode::PUBLIC)?;
    }
    host.write(&unit(), content(arguments).as_bytes(), Mode::PUBLIC)?;
    systemctl(host, &["daemon-reload"])?;
    systemctl(host, &["enable", UNIT])?;
    Ok(true)
}

/// Removes the unit and what it needs.
pub(crate) fn disarm(host: &mut Host) -> Result<()> {
    if host.stat(&unit())?.is_some() {
        systemctl(host, &["disable", UNIT])?;
        host.remove(&unit())?;
        // A reload without the unit's file makes systemd stop the service after 90 seconds, and that is this very run if
        // the unit has started it. systemd forgets the unit when the run ends.
        if !is_resumed()? {
            systemctl(host, &["daemon-reload"])?;
        }
    }
    for file in [program(), peers()] {
        host.remove(&file)?;
    }
    host.remove_dir(&dir()).map(drop)
}

/// Whether this is the continued run: its executable is the copy.
fn is_resumed() -> Result<bool> {
    Ok(executable()? == program())
}

fn executable() -> Result<PathBuf> {
    std::env::current_exe().context(message!("looking for the running executable"))
}

fn dir() -> PathBuf {
    Path::new(STATE_DIR).join("resume")
}

fn program() -> PathBuf {
    dir().join("mitigator-vpn")
}

fn unit() -> PathBuf {
    Path::new(UNITS).join(UNIT)
}

fn content(arguments: &[String]) -> String {
    let words = std::iter::once(program().display().to_string()).chain(arguments.iter().cloned());
    let command: Vec<String> = words.map(|word| quoted(&word)).collect();
    format!(
        "\
# Written by mitigator-vpn install, which waits for a reboot; the run that this starts takes it away.

[Unit]
Description=The rest of mitigator-vpn install
Wants=network-online.target
After=network-online.target docker.service

[Service]
Type=oneshot
ExecStart={}

[Install]
WantedBy=multi-user.target
",
        command.join(" ")
    )
}

/// An argument quoted for `ExecStart`, where systemd expands specifiers and variables.
fn quoted(word: &str) -> String {
    let escaped = word.replace('\\', r"\\").replace('"', r#"\""#).replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

fn systemctl(host: &mut Host, args: &[&str]) -> Result<()> {
    let cmd = Cmd::new("systemctl").args(args.iter().copied());
    host.run(&cmd)?.success(format!("'{cmd}'")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_reaches_the_program_as_it_is() {
        assert_eq!(
            quoted(r#"--apt-mirror=http://m.example/a%20b$c"\"#),
            r#""--apt-mirror=http://m.example/a%%20b$$c\"\\""#
        );
    }

    #[test]
    fn nothing_armed_is_nothing_to_take_away() {
        let dir = tempfile::tempdir().unwrap();
        disarm(&mut Host::at(dir.path()).unwrap()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
