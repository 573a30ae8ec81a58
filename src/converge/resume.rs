//! Going on after a reboot: a run that needs one leaves a systemd unit behind, which types the rest of it again once the
//! host is up, and is taken away by the run it starts.
//!
//! The unit has everything it needs in one directory of ours: this executable and the list that `--peers` named. Both may
//! have come by way of `/tmp`, which a reboot empties.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::converge::journal::STATE_DIR;
use crate::error::{Context, Result};
use crate::host::{Cmd, Host, Mode};
use crate::settings::Settings;

/// The unit's name, for `systemctl` and `journalctl -u`.
pub const UNIT: &str = "mitigator-vpn-resume.service";

const UNITS: &str = "/etc/systemd/system";

/// Has an install with these settings go on after the next boot. Says no where there is no systemd to do it.
pub fn arm(host: &mut Host, settings: &Settings) -> Result<bool> {
    if host.stat(Path::new("/run/systemd/system"))?.is_none() {
        return Ok(false);
    }
    host.create_dir(&dir(), Mode::DIRECTORY)?;
    if !is_resumed()? {
        let bytes = host.read_program(&executable()?)?.unwrap_or_default();
        host.write(&program(), &bytes, Mode::PROGRAM)?;
    }
    if let Some(list) = &settings.peers {
        host.write(&peers(), list.as_bytes(), Mode::PUBLIC)?;
    }
    host.write(&unit(), content(settings).as_bytes(), Mode::PUBLIC)?;
    systemctl(host, &["daemon-reload"])?;
    systemctl(host, &["enable", UNIT])?;
    Ok(true)
}

/// Nothing goes on by itself any more.
pub fn disarm(host: &mut Host) -> Result<()> {
    if host.stat(&unit())?.is_some() {
        systemctl(host, &["disable", UNIT])?;
        host.remove(&unit())?;
        // Without its file systemd takes the service for one of another kind, and ends it after 90 seconds: this very run,
        // where the unit has started it. What systemd remembers of it goes when it ends.
        if !is_resumed()? {
            systemctl(host, &["daemon-reload"])?;
        }
    }
    for file in [program(), peers()] {
        host.remove(&file)?;
    }
    host.remove_dir(&dir()).map(drop)
}

/// Whether this is the run that goes on: it is the copy itself.
fn is_resumed() -> Result<bool> {
    Ok(executable()? == program())
}

fn executable() -> Result<PathBuf> {
    std::env::current_exe().context("looking for the running executable")
}

fn dir() -> PathBuf {
    Path::new(STATE_DIR).join("resume")
}

fn program() -> PathBuf {
    dir().join("mitigator-vpn")
}

fn peers() -> PathBuf {
    dir().join("peers.conf")
}

fn unit() -> PathBuf {
    Path::new(UNITS).join(UNIT)
}

fn content(settings: &Settings) -> String {
    let words = std::iter::once(program().display().to_string()).chain(arguments(settings));
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

/// What to type for a run with these settings that leaves it at one reboot.
fn arguments(settings: &Settings) -> Vec<String> {
    let mut words: Vec<String> = ["install", "--yes", "--no-resume"].map(str::to_owned).into();
    let mut option = |name: &str, value: String| words.push(format!("--{name}={value}"));
    option("dir", settings.dir.display().to_string());
    if let Some(address) = settings.vpn_address {
        option("vpn-address", address.to_string());
    }
    if let Some(endpoint) = settings.endpoint {
        option("endpoint", endpoint.to_string());
    }
    option("port", settings.port.to_string());
    option("prefix", settings.prefix.to_string());
    if settings.peers.is_some() {
        option("peers", peers().display().to_string());
    }
    option("firewall", name(settings.firewall));
    option("restart", name(settings.restart));
    option("stack", name(settings.stack));
    if let Some(mirror) = &settings.apt_mirror {
        option("apt-mirror", mirror.clone());
    }
    if !settings.ignore.is_empty() {
        option("ignore", settings.ignore.join(","));
    }
    words
}

fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// A word as systemd takes it for one: it knows specifiers, variables and quotes.
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
    use crate::cli::{Cli, Command};
    use crate::settings::{FirewallPolicy, Restart, StackKind};
    use clap::Parser;

    fn typed(settings: &Settings) -> Cli {
        Cli::try_parse_from(std::iter::once("mitigator-vpn".to_owned()).chain(arguments(settings))).unwrap()
    }

    #[test]
    fn what_is_typed_after_the_reboot_says_all_that_was_said_before_it() {
        let settings = Settings {
            dir: "/srv/other".into(),
            vpn_address: Some([10, 8, 3, 2].into()),
            endpoint: Some("[2001:db8::1]:99".parse().unwrap()),
            port: 99,
            prefix: 16,
            peers: Some("[Peer]\n".into()),
            whole_list: false,
            firewall: FirewallPolicy::Report,
            restart: Restart::Gateway,
            apt_mirror: Some("http://mirror.example/debian".into()),
            stack: StackKind::Default,
            ignore: vec!["clock".into(), "endpoint".into()],
        };
        let Cli { global, command: Command::Install(options) } = typed(&settings) else { panic!("another command") };
        assert!(global.yes && options.no_resume);
        assert_eq!(options.peers, Some(peers()));
        let again = options.policy.over(Settings {
            dir: global.dir,
            vpn_address: options.vpn_address,
            endpoint: options.endpoint.map(|endpoint| endpoint.with_port(1)),
            port: options.port.unwrap(),
            prefix: options.prefix.unwrap(),
            peers: settings.peers.clone(),
            ignore: global.ignore,
            ..Settings::default()
        });
        assert_eq!(again, settings);
    }

    #[test]
    fn a_run_that_was_told_nothing_is_typed_again_with_nothing() {
        let Cli { command: Command::Install(options), .. } = typed(&Settings::default()) else {
            panic!("another command")
        };
        assert!(options.vpn_address.is_none() && options.endpoint.is_none() && options.peers.is_none());
    }

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
