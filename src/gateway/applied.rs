//! What was applied last: a copy of the public list, kept as long as the container lives.
//!
//! Two things need it. A peer that roams has another endpoint than the list gives it, and only comparing list with
//! list tells that from a changed line. And `status` can say that the list has changed since (FN-50).

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::host::{Appending, Host, Mode};
use crate::wireguard::PeerList;
use crate::wireguard::device::InterfaceName;

const DIRECTORY: &str = "/run/mitigator-vpn";

/// Waits until nobody else changes this interface; held until the result is dropped.
pub(super) fn lock(host: &mut Host, name: &InterfaceName) -> Result<Appending> {
    host.create_dir(Path::new(DIRECTORY), Mode::DIRECTORY)?;
    let path = Path::new(DIRECTORY).join(format!("{name}.lock"));
    let file = host.append(&path, Mode::SECRET)?;
    file.lock()?;
    Ok(file)
}

/// The list that was applied last; `None` when there was none.
pub(super) fn recall(host: &Host, name: &InterfaceName) -> Result<Option<PeerList>> {
    PeerList::read(host, &note(name))
}

pub(super) fn remember(host: &mut Host, name: &InterfaceName, list: &PeerList) -> Result<()> {
    host.write(&note(name), list.to_text().as_bytes(), Mode::PUBLIC)
}

pub(super) fn forget(host: &mut Host, name: &InterfaceName) -> Result<()> {
    host.remove(&note(name))
}

fn note(name: &InterfaceName) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{name}.public.conf"))
}
