//! WireGuard's own nouns: keys, the two files of an instance, the live device.

pub mod device;
mod key;
mod network;
mod peers;
mod private;

pub use key::{PrivateKey, PublicKey};
pub use network::Network;
pub use peers::{Change, Peer, PeerList, Problem};
pub use private::PrivateConf;
