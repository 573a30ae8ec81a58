//! WireGuard's own nouns: keys, the two files of an instance, the live device.

mod conf;
pub mod device;
mod digest;
mod key;
mod network;
mod peers;
mod private;

pub(crate) use conf::LineProblem;
pub use digest::{ListDigest, MembersDigest};
pub use key::{PrivateKey, PublicKey};
pub use network::Network;
pub use peers::{ListChange, Peer, PeerList};
pub use private::{PLACEHOLDER, PrivateConf};
