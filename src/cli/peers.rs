//! What `peers` takes.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::Endpoint;
use crate::wireguard::PublicKey;

/// The peers command.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum PeersCommand {
    /// Show the members of a list
    List {
        /// Which list.
        #[command(flatten)]
        file: ReadFile,
    },
    /// Check a list: every bad line with its reason (exit 2), and whether its members fit into one network (exit 3)
    Check {
        /// Which list.
        #[command(flatten)]
        file: ReadFile,
        /// Which network.
        #[command(flatten)]
        network: NetworkOption,
    },
    /// Add a member at the end of a list; the rest of the file stays byte for byte
    Add {
        /// The list [default: vpn-public.conf of this instance]
        file: Option<PathBuf>,
        /// The member's public key, as its `status` or `wg pubkey` prints it
        #[arg(long, value_name = "KEY", env = "MITIGATOR_VPN_PUBLIC_KEY")]
        public_key: PublicKey,
        /// Its address inside the VPN
        #[arg(long, value_name = "ADDR", env = "MITIGATOR_VPN_VPN_ADDRESS")]
        vpn_address: Ipv4Addr,
        /// Where the others send their packets to it; IPv6 as [ADDR]:PORT, the port is 4567 without one
        #[arg(long, value_name = "IP[:PORT]", env = "MITIGATOR_VPN_ENDPOINT", value_parser = super::endpoint)]
        endpoint: Endpoint,
        /// Have every other member send it a packet this often; needed only behind NAT
        #[arg(long, value_name = "SECONDS", env = "MITIGATOR_VPN_KEEPALIVE")]
        keepalive: Option<u16>,
        /// Which network.
        #[command(flatten)]
        network: NetworkOption,
        /// Which list it is meant for.
        #[command(flatten)]
        expected: ExpectedList,
    },
    /// Remove a member, with its comments
    Remove {
        /// The member: its VPN address or its public key
        member: String,
        /// The list [default: vpn-public.conf of this instance]
        file: Option<PathBuf>,
        /// Which list it is meant for.
        #[command(flatten)]
        expected: ExpectedList,
    },
    /// Print a cluster.toml of a list's members, for those who have a cluster already
    Import {
        /// Which list.
        #[command(flatten)]
        file: ReadFile,
    },
    /// Show what differs between two lists, by members and not by layout (exit 5 if anything does)
    Diff {
        /// The two lists, - for standard input; of a single one the difference to this instance's own is shown
        #[arg(value_name = "FILE", num_args = 1..=2, required = true)]
        files: Vec<PathBuf>,
    },
}

/// A list to read.
#[derive(Clone, Debug, clap::Args)]
pub struct ReadFile {
    /// The list, - for standard input [default: vpn-public.conf of this instance]
    pub file: Option<PathBuf>,
}

/// The network the members are in.
#[derive(Clone, Debug, clap::Args)]
pub struct NetworkOption {
    /// Prefix length of the VPN's network [default: what this instance's .env says, or 24]
    #[arg(long, value_name = "BITS", env = "MITIGATOR_VPN_PREFIX", value_parser = clap::value_parser!(u8).range(8..=30))]
    pub prefix: Option<u8>,
}

/// Which list an edit is meant for.
#[derive(Clone, Debug, clap::Args)]
pub struct ExpectedList {
    /// Refuse (exit 3) if the list's SHA-256 isn't this one any more: somebody else was faster
    #[arg(long, value_name = "SHA256", env = "MITIGATOR_VPN_EXPECT_DIGEST")]
    pub expect_digest: Option<String>,
}
