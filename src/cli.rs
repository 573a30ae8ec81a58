//! The command line as types: what can be typed. No IO, no decisions.

#![allow(rustdoc::broken_intra_doc_links, reason = "[ADDR] is what a person types")]

pub mod cluster;
pub mod gateway;
pub mod peers;

use std::ffi::{OsStr, OsString};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::builder::{BoolishValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use cluster::ClusterCommand;
use gateway::GatewayCommand;
use peers::PeersCommand;

use crate::lang::Lang;
use crate::product::PRODUCT;
use crate::settings::{Endpoint, FirewallPolicy, Restart, Settings, StackKind};

/// Sets up, checks and maintains the WireGuard VPN between BIFIT Mitigator instances.
#[derive(Debug, Parser)]
#[command(name = "mitigator-vpn", version, after_long_help = AFTER_HELP, max_term_width = 110)]
#[command(propagate_version = true, disable_help_subcommand = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Exit status:
  0  done, or nothing to do
  1  unexpected failure
  2  bad arguments or a bad input file; nothing changed
  3  a check failed, or the answer was no; nothing changed
  4  a reboot is needed; the run continues by itself after it
  5  applied, but not proven (a member gives no handshake); or status found a difference
  6  a step failed; what was done is in the journal: run again, or undo
  7  another run holds the lock

Files:
  /srv/mitigator/vpn-private.conf     this instance's private key; never leaves the host
  /srv/mitigator/vpn-public.conf      the peer list; the same bytes on every instance
  /var/lib/mitigator-vpn/             the journal of what was done; undo works from it

Try it:
  mitigator-vpn preflight
  mitigator-vpn install --vpn-address 10.8.3.1 --endpoint 192.0.2.1";

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// The instance's directory
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "DIR",
        default_value = PRODUCT.directory,
        env = "MITIGATOR_VPN_DIR",
        value_parser = absolute
    )]
    pub dir: PathBuf,
    /// Act on a host's file tree mounted at DIR; what needs its kernel or daemons is skipped, and reported as skipped
    #[arg(long, global = true, help_heading = "Global options", value_name = "DIR", env = "MITIGATOR_VPN_ROOT")]
    pub root: Option<PathBuf>,
    /// Print one JSON document; with --json=events also progress, one JSON object per line
    #[arg(long, global = true, help_heading = "Global options", value_name = "WHAT", num_args = 0..=1, require_equals = true,
        default_missing_value = "document", env = "MITIGATOR_VPN_JSON")]
    pub json: Option<Json>,
    /// Ask no questions
    #[arg(long, global = true, help_heading = "Global options", env = "MITIGATOR_VPN_YES",
        value_parser = BoolishValueParser::new())]
    pub yes: bool,
    /// Treat a failure of these checks as a warning
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "ID",
        value_delimiter = ',',
        env = "MITIGATOR_VPN_IGNORE"
    )]
    pub ignore: Vec<String>,
    /// Language of the output for people [default: the locale's]
    #[arg(long, global = true, help_heading = "Global options", value_name = "LANG", env = "MITIGATOR_VPN_LANG")]
    pub lang: Option<Lang>,
    /// When to use colours; NO_COLOR is respected
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "WHEN",
        default_value = "auto",
        env = "MITIGATOR_VPN_COLOR"
    )]
    pub color: Color,
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    // Compose labels its containers with the absolute path: a relative one would find none of them.
    if path.is_absolute() { Ok(path) } else { Err("not an absolute path of the host, such as /srv/mitigator".into()) }
}

/// `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Json {
    /// The result as one document.
    Document,
    /// Progress as it happens, then the result, one object per line.
    Events,
}

impl Json {
    /// As a command line asks for it that can't be parsed otherwise.
    pub fn asked_for(words: &[OsString]) -> Option<Json> {
        let typed =
            words.iter().take_while(|word| *word != "--").filter_map(|word| word.to_str()?.strip_prefix("--json"));
        let variable = std::env::var("MITIGATOR_VPN_JSON").ok();
        match typed.last().map(|value| value.trim_start_matches('=').to_owned()).or(variable)?.as_str() {
            "events" => Some(Json::Events),
            "" | "document" => Some(Json::Document),
            _ => None,
        }
    }
}

/// `--color`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check this host and report everything that would fail; changes nothing
    Preflight(InstallOptions),
    /// Show what install would change, as a diff; changes nothing
    Plan(InstallOptions),
    /// Make this host a member of the cluster's VPN: plan, ask, apply, prove by handshakes
    Install(InstallOptions),
    /// Report where this instance's disk, container and live tunnel differ; show each member's handshake and traffic
    Status,
    /// Take back what install did, by its journal
    Undo,
    /// Read, check or edit a peer list (vpn-public.conf), anywhere, without root
    #[command(subcommand)]
    Peers(PeersCommand),
    /// Manage all instances of a cluster.toml from one place, over ssh
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// The host's side of `cluster`: answers requests on standard input
    #[command(hide = true)]
    Session {
        /// The connection that started it: sshd's SSH_CONNECTION
        #[arg(default_value = "")]
        way_in: String,
    },
    /// Takes a run back unless it is confirmed
    #[command(hide = true)]
    Guard {
        /// The run's name
        run: String,
    },
    /// Run, reconfigure or show the tunnel inside the gateway's container
    #[command(subcommand)]
    Gateway(GatewayCommand),
    /// Explain a check: what it means, how it is decided, how to fix the cause; offline
    Explain {
        /// The check's id, as preflight prints it [default: list all ids]
        id: Option<String>,
    },
    /// Print what was read from this host as JSON, without secrets: for a bug report, or as test data
    Facts,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of the program or of one command; to read it: mitigator-vpn man | man -l -
    Man {
        /// The command, in all its words: `peers add`
        command: Vec<String>,
    },
    /// Print the JSON schemas of the documents that --json prints
    Schema,
}

/// Options of `install`, `preflight` and `plan`.
#[derive(Args, Clone, Debug, Default)]
pub struct InstallOptions {
    /// This instance's address inside the VPN, unique in the cluster [default: the one it already has]
    #[arg(long, value_name = "ADDR", env = "MITIGATOR_VPN_VPN_ADDRESS", value_parser = vpn_address)]
    pub vpn_address: Option<Ipv4Addr>,
    /// The outer address to which the other instances send; IPv6 as [ADDR]:PORT [default: the one it already has]
    #[arg(long, value_name = "IP[:PORT]", env = "MITIGATOR_VPN_ENDPOINT", value_parser = endpoint)]
    pub endpoint: Option<Endpoint>,
    /// The peer list of a member (its vpn-public.conf), to join that cluster or to take in its new members
    #[arg(long, value_name = "FILE", env = "MITIGATOR_VPN_PEERS")]
    pub peers: Option<PathBuf>,
    /// The UDP port on which WireGuard listens [default: the one it already has, or 4567]
    #[arg(long, value_name = "PORT", env = "MITIGATOR_VPN_PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Prefix length of the VPN's network [default: the one it already has, or 24]
    #[arg(long, value_name = "BITS", env = "MITIGATOR_VPN_PREFIX", value_parser = clap::value_parser!(u8).range(8..=30))]
    pub prefix: Option<u8>,
    /// What on the host may be changed.
    #[command(flatten)]
    pub policy: HostPolicy,
    /// After a reboot that the run needs (exit code 4), don't continue by itself
    #[arg(long, env = "MITIGATOR_VPN_NO_RESUME", value_parser = BoolishValueParser::new())]
    pub no_resume: bool,
}

/// What on a host may be changed, by `install` or by `cluster`.
#[derive(Args, Clone, Debug, Default)]
pub struct HostPolicy {
    /// What to do about the firewall
    #[arg(long, value_name = "POLICY", default_value = "auto", env = "MITIGATOR_VPN_FIREWALL")]
    pub firewall: FirewallPolicy,
    /// What may be restarted
    #[arg(long, value_name = "SCOPE", default_value = "full", env = "MITIGATOR_VPN_RESTART")]
    pub restart: Restart,
    /// The apt mirror for a suite that has to be added, instead of the host's own mirror
    #[arg(long, value_name = "URL", env = "MITIGATOR_VPN_APT_MIRROR", hide_env_values = true, value_parser = MirrorParser)]
    pub apt_mirror: Option<String>,
    /// Which compose stack the gateway belongs to
    #[arg(long, value_name = "STACK", default_value = "vendor", env = "MITIGATOR_VPN_STACK")]
    pub stack: StackKind,
}

impl HostPolicy {
    /// The settings with this policy.
    pub fn over(&self, settings: Settings) -> Settings {
        let HostPolicy { firewall, restart, apt_mirror, stack } = self.clone();
        Settings { firewall, restart, apt_mirror, stack, ..settings }
    }
}

/// `--apt-mirror`. It goes into files and units that everybody may read, so it has no user and password in it, and the error
/// doesn't repeat them.
#[derive(Clone)]
struct MirrorParser;

impl TypedValueParser for MirrorParser {
    type Value = String;

    fn parse_ref(&self, command: &clap::Command, _: Option<&clap::Arg>, value: &OsStr) -> Result<String, clap::Error> {
        let refused = |reason| Err(clap::Error::raw(ErrorKind::ValueValidation, reason).with_cmd(command));
        match value.to_str() {
            Some(mirror) if mirror.split('/').nth(2).is_some_and(|authority| authority.contains('@')) => refused(
                "--apt-mirror has a user or a password in it, which everybody on the host could read\n  → put them into a file \
                 of /etc/apt/auth.conf.d (man apt_auth.conf), and give the address without them\n",
            ),
            Some(mirror) => Ok(mirror.to_owned()),
            None => refused("--apt-mirror is not UTF-8 text\n"),
        }
    }
}

/// `--vpn-address`, without the prefix length that `ip` writes behind it.
fn vpn_address(text: &str) -> Result<Ipv4Addr, String> {
    match text.split_once('/') {
        Some((address, prefix)) if address.parse::<Ipv4Addr>().is_ok() => {
            Err(format!("an address without a prefix length: --vpn-address {address} --prefix {prefix}"))
        }
        Some(_) | None => text.parse().map_err(|_| "not an IPv4 address, such as 10.8.3.1".to_owned()),
    }
}

/// `--endpoint`: the port is optional.
fn endpoint(text: &str) -> Result<Endpoint, String> {
    Endpoint::parse(text).map_err(|reason| reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_mirrors_password_is_refused_and_not_repeated() {
        let parse = |mirror: &str| Cli::try_parse_from(["mitigator-vpn", "plan", "--apt-mirror", mirror]);
        let error = parse("http://joe:pa55@mirror.example/debian").unwrap_err().to_string();
        assert!(error.contains("/etc/apt/auth.conf.d") && !error.contains("joe") && !error.contains("pa55"), "{error}");
        assert!(parse("http://mirror.example/~joe@work/debian").is_ok());
    }

    #[test]
    fn every_option_has_an_environment_variable() {
        fn visit(command: &clap::Command) {
            for arg in command.get_arguments().filter(|a| a.get_long().is_some() && !a.is_positional()) {
                let builtin = ["help", "version"].contains(&arg.get_id().as_str());
                let name = arg.get_env().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
                // The gateway's variables are the container's; some of them belong to the vendor's contract.
                let ours = name.starts_with("MITIGATOR_VPN_") || name.starts_with("GATEWAY_");
                assert!(builtin || ours, "{} of {}", arg.get_id(), command.get_name());
            }
            command.get_subcommands().for_each(visit);
        }
        visit(&Cli::command());
    }
}
