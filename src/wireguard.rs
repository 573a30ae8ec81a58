//! WireGuard's own nouns: keys, the two files of an instance, the live device.

mod conf;
pub(crate) mod device;
mod digest;
mod history;
mod key;
mod network;
mod peers;
mod private;

pub(crate) use conf::LineProblem;
pub use digest::{ListDigest, MembersDigest};
pub(crate) use history::{History, Note, Past};
pub use key::{PrivateKey, PublicKey};
pub(crate) use network::Network;
pub(crate) use peers::MAX_LIST;
pub use peers::{ListChange, Peer, PeerList};
pub(crate) use private::PLACEHOLDER;
pub use private::PrivateConf;
