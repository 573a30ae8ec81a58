//! The live tunnel as seen from the host, whoever's gateway it is.
//!
//! - [`observe()`] reads the device from inside the gateway's namespaces: over netlink where the kernel drives it, through
//!   its socket where wireguard-go does. Neither needs anything in the gateway's image, nor Docker.
//! - [`probe()`] is the only way to tell whether a peer is reached. `install`, `status`, `cluster status` and the gates of
//!   a rollout all use it.
//! - [`mtu`] measures how large a packet gets to the peers that answer.
//! - [`timings`] has every duration of this module, with its reason.

mod echo;
pub(crate) mod mtu;
mod observe;
mod probe;
pub(crate) mod timings;

pub(crate) use observe::{difference, observe};
pub(crate) use probe::{Baseline, ProbedPeer, Reachability, probe, probe_list};

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

/// The port of the discard service. Any port would do.
const DISCARD: u16 = 9;

/// A socket that knows the route to an address. Nothing is sent.
fn route_to(address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((address, DISCARD))?;
    Ok(socket)
}
