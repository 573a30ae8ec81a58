//! Options of `peers`.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::Endpoint;
use crate::wireguard::PublicKey;

/// The commands of `peers`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum PeersCommand {
    /// Show the members of a list
    List {
        /// The list.
        #[command(flatten)]
        file: ReadFile,
    },
    /// Check a list: report every bad line with its reason (exit 2), and members outside of the network (exit 3)
    Check {
        /// The list.
        #[command(flatten)]
        file: ReadFile,
        /// The network.
        #[command(flatten)]
        network: NetworkOption,
    },
    /// Add a member at the end of a list; the rest of the file stays byte for byte as it is
    Add {
        /// The list [default: this instance's vpn-public.conf]
        file: Option<PathBuf>,
        /// The member's public key, as its `status` or `wg pubkey` prints it
        #[arg(long, value_name = "KEY", env = "MITIGATOR_VPN_PUBLIC_KEY")]
        public_key: PublicKey,
        /// Its address inside the VPN, unique in the list
        #[arg(long, value_name = "ADDR", env = "MITIGATOR_VPN_VPN_ADDRESS")]
        vpn_address: Ipv4Addr,
        /// The outer address to which the others send; IPv6 as [ADDR]:PORT; the default port is 4567
        #[arg(long, value_name = "IP[:PORT]", env = "MITIGATOR_VPN_ENDPOINT", value_parser = super::endpoint)]
        endpoint: Endpoint,
        /// Interval of the keepalives that every other member sends to it; needed only behind NAT
        #[arg(long, value_name = "SECONDS", env = "MITIGATOR_VPN_KEEPALIVE")]
        keepalive: Option<u16>,
        /// The network.
        #[command(flatten)]
        network: NetworkOption,
        /// The list that the edit is meant for.
        #[command(flatten)]
        expected: ExpectedList,
    },
    /// Remove a member and its comments
    Remove {
        /// The member: its VPN address or its public key
        member: String,
        /// The list [default: this instance's vpn-public.conf]
        file: Option<PathBuf>,
        /// The list that the edit is meant for.
        #[command(flatten)]
        expected: ExpectedList,
    },
    /// Print a cluster.toml with the members of a list, to manage an existing cluster with `cluster`
    Import {
        /// The list.
        #[command(flatten)]
        file: ReadFile,
    },
    /// Compare the members of two lists; layout doesn't count (exit 5 if they differ)
    Diff {
        /// The two lists, - for standard input; a single one is compared with this instance's own
        #[arg(value_name = "FILE", num_args = 1..=2, required = true)]
        files: Vec<PathBuf>,
    },
}

/// A list to read.
#[derive(Clone, Debug, clap::Args)]
pub struct ReadFile {
    /// The list, - for standard input [default: this instance's vpn-public.conf]
    pub file: Option<PathBuf>,
}

/// The network in which the members are.
#[derive(Clone, Debug, clap::Args)]
pub struct NetworkOption {
    /// Prefix length of the VPN's network [default: the one in this instance's .env, or 24]
    #[arg(long, value_name = "BITS", env = "MITIGATOR_VPN_PREFIX", value_parser = clap::value_parser!(u8).range(8..=30))]
    pub prefix: Option<u8>,
}

/// The list that an edit is meant for.
#[derive(Clone, Debug, clap::Args)]
pub struct ExpectedList {
    /// Refuse (exit 3) unless this is the list's SHA-256: somebody else has changed it since
    #[arg(long, value_name = "SHA256", env = "MITIGATOR_VPN_EXPECT_DIGEST")]
    pub expect_digest: Option<String>,
}
