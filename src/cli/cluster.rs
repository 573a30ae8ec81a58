//! Options of `cluster`.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::HostPolicy;
use crate::settings::Endpoint;

/// The commands of `cluster`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum ClusterCommand {
    /// Show what apply would change, host by host; changes nothing (exit 5 if a host is down)
    Plan {
        /// The cluster and how to reach it.
        #[command(flatten)]
        target: Target,
        /// What may be changed on a host, and how many hosts at once.
        #[command(flatten)]
        policy: Policy,
    },
    /// Bring every instance to the same peer list: plan, ask, roll out in waves, prove by handshakes
    Apply {
        /// The cluster and how to reach it.
        #[command(flatten)]
        target: Target,
        /// What may be changed on a host, and how many hosts at once.
        #[command(flatten)]
        policy: Policy,
    },
    /// Show who reaches whom, and where disk, container and live device differ (exit 5 if anything differs)
    Status {
        /// The cluster and how to reach it.
        #[command(flatten)]
        target: Target,
    },
    /// Add an instance to cluster.toml, then apply
    Add {
        /// The instance's name in cluster.toml
        name: String,
        /// The ssh destination: any that ssh(1) accepts
        #[arg(long, value_name = "DESTINATION", env = "MITIGATOR_VPN_SSH")]
        ssh: String,
        /// Its address inside the VPN, unique in the cluster
        #[arg(long, value_name = "ADDR", env = "MITIGATOR_VPN_VPN_ADDRESS")]
        vpn_address: Ipv4Addr,
        /// The outer address to which the other instances send; IPv6 as [ADDR]:PORT
        #[arg(long, value_name = "IP[:PORT]", env = "MITIGATOR_VPN_ENDPOINT", value_parser = super::endpoint)]
        endpoint: Endpoint,
        /// Take in a member again that was removed
        #[arg(long, env = "MITIGATOR_VPN_AGAIN", value_parser = clap::builder::BoolishValueParser::new())]
        again: bool,
        /// The cluster and how to reach it.
        #[command(flatten)]
        target: Target,
        /// What may be changed on a host, and how many hosts at once.
        #[command(flatten)]
        policy: Policy,
    },
    /// Remove an instance from cluster.toml and from every peer list, then apply
    Remove {
        /// The instance's name in cluster.toml, or the VPN address of a member
        name: String,
        /// The cluster and how to reach it.
        #[command(flatten)]
        target: Target,
        /// What may be changed on a host, and how many hosts at once.
        #[command(flatten)]
        policy: Policy,
    },
    /// Give an instance a new key, made on its host; without a name, one instance after the other
    Rotate {
        /// The instance's name in cluster.toml
        name: Option<String>,
        /// Go on though these members can't be given the new key: names, or VPN addresses. They are cut off from the
        /// instance until the next apply
        #[arg(long, value_name = "NAME", value_delimiter = ',', env = "MITIGATOR_VPN_LEAVE_BEHIND")]
        leave_behind: Vec<String>,
        /// The cluster and how to reach it.
        #[command(flatten)]
        target: Target,
        /// How long a change may stay unconfirmed.
        #[command(flatten)]
        guarding: Guarding,
    },
}

/// The cluster and how to reach it.
#[derive(Clone, Debug, clap::Args)]
pub struct Target {
    /// The file that lists the instances
    #[arg(short = 'f', long, value_name = "FILE", default_value = "cluster.toml", env = "MITIGATOR_VPN_CLUSTER_FILE")]
    pub file: PathBuf,
    /// Work on these instances only; the others stay members
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "MITIGATOR_VPN_ONLY")]
    pub only: Vec<String>,
    /// How many hosts to work on at once
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=1000),
        env = "MITIGATOR_VPN_PARALLEL")]
    pub parallel: u16,
    /// The configuration file for ssh, instead of your own
    #[arg(long, value_name = "FILE", env = "MITIGATOR_VPN_SSH_CONFIG")]
    pub ssh_config: Option<PathBuf>,
    /// Accept the unknown key of this instance, whose host was installed anew
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "MITIGATOR_VPN_ACCEPT_KEY")]
    pub accept_key: Vec<String>,
    /// Accept this member, which neither cluster.toml nor most of the lists know: its VPN address
    #[arg(long, value_name = "ADDR", value_delimiter = ',', env = "MITIGATOR_VPN_ACCEPT_MEMBER")]
    pub accept_member: Vec<Ipv4Addr>,
}

/// How long a change may stay unconfirmed that could cut off the operator's own connection.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Guarding {
    /// Where a change could cut off your own connection (ssh over the VPN, a firewall rule), the host takes it back unless
    /// a new connection confirms it within this time
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=100),
        env = "MITIGATOR_VPN_CONFIRM_WITHIN")]
    pub confirm_within: u16,
}

/// What may be changed on a host, and how many hosts at once.
#[derive(Clone, Debug, clap::Args)]
pub struct Policy {
    /// The most hosts to change in one wave; the first wave is one host
    #[arg(long, value_name = "N", default_value_t = 30, env = "MITIGATOR_VPN_BATCH")]
    pub batch: u16,
    /// How long a change may stay unconfirmed.
    #[command(flatten)]
    pub guarding: Guarding,
    /// As for `install`.
    #[command(flatten)]
    pub host: HostPolicy,
}
