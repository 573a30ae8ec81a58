//! What `cluster` takes.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::{Endpoint, HostPolicy};

/// The cluster command.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum ClusterCommand {
    /// Show what apply would change, host by host; changes nothing
    Plan {
        /// Which cluster, and how to reach it.
        #[command(flatten)]
        target: Target,
        /// How far a host may be changed.
        #[command(flatten)]
        policy: Policy,
    },
    /// Make all instances agree: plan, ask, roll out in waves, prove by handshakes
    Apply {
        /// Which cluster, and how to reach it.
        #[command(flatten)]
        target: Target,
        /// How far a host may be changed.
        #[command(flatten)]
        policy: Policy,
    },
    /// Who reaches whom, and whether disk, container and live device agree everywhere (exit 5 if anything differs)
    Status {
        /// Which cluster, and how to reach it.
        #[command(flatten)]
        target: Target,
    },
    /// Add an instance to cluster.toml, then apply
    Add {
        /// What it is called in cluster.toml
        name: String,
        /// Where ssh goes: whatever ssh(1) accepts
        #[arg(long, value_name = "DESTINATION", env = "MITIGATOR_VPN_SSH")]
        ssh: String,
        /// Its address inside the VPN
        #[arg(long, value_name = "ADDR", env = "MITIGATOR_VPN_VPN_ADDRESS")]
        vpn_address: Ipv4Addr,
        /// Where the others send their packets; IPv6 as [ADDR]:PORT
        #[arg(long, value_name = "IP[:PORT]", env = "MITIGATOR_VPN_ENDPOINT", value_parser = super::endpoint)]
        endpoint: Endpoint,
        /// Which cluster, and how to reach it.
        #[command(flatten)]
        target: Target,
        /// How far a host may be changed.
        #[command(flatten)]
        policy: Policy,
    },
    /// Take an instance out of cluster.toml and out of every list; the only way a member leaves
    Remove {
        /// What it is called in cluster.toml
        name: String,
        /// Which cluster, and how to reach it.
        #[command(flatten)]
        target: Target,
        /// How far a host may be changed.
        #[command(flatten)]
        policy: Policy,
    },
    /// Give an instance a new key, made on its host; without a name one instance after the other
    Rotate {
        /// What it is called in cluster.toml
        name: Option<String>,
        /// Which cluster, and how to reach it.
        #[command(flatten)]
        target: Target,
        /// How long a way in may stay unproven.
        #[command(flatten)]
        guarding: Guarding,
    },
}

/// Which cluster, and how to reach it.
#[derive(Clone, Debug, clap::Args)]
pub struct Target {
    /// The cluster's description
    #[arg(short = 'f', long, value_name = "FILE", default_value = "cluster.toml", env = "MITIGATOR_VPN_CLUSTER_FILE")]
    pub file: PathBuf,
    /// Touch only these instances; the others stay members all the same
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "MITIGATOR_VPN_ONLY")]
    pub only: Vec<String>,
    /// How many hosts to work on at once
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=1000),
        env = "MITIGATOR_VPN_PARALLEL")]
    pub parallel: u16,
    /// A configuration file for ssh, instead of your own
    #[arg(long, value_name = "FILE", env = "MITIGATOR_VPN_SSH_CONFIG")]
    pub ssh_config: Option<PathBuf>,
    /// Take the new key of this instance for what it is: its host was made anew
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "MITIGATOR_VPN_ACCEPT_KEY")]
    pub accept_key: Vec<String>,
}

/// How long a way in may stay unproven.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Guarding {
    /// Where a change could cut the way in (ssh over the VPN, a firewall rule), the host takes it back by itself unless a
    /// new connection confirms it within this time
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=100),
        env = "MITIGATOR_VPN_CONFIRM_WITHIN")]
    pub confirm_within: u16,
}

/// How far a host may be changed: as for `install`.
#[derive(Clone, Debug, clap::Args)]
pub struct Policy {
    /// The most hosts to change in one wave; the first wave is always one host
    #[arg(long, value_name = "N", default_value_t = 30, env = "MITIGATOR_VPN_BATCH")]
    pub batch: u16,
    /// How long a way in may stay unproven.
    #[command(flatten)]
    pub guarding: Guarding,
    /// The same as for `install`.
    #[command(flatten)]
    pub host: HostPolicy,
}
