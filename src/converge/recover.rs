//! Completes writes during which an earlier run was killed.

use std::path::Path;

use super::journal::Receipt;
use crate::error::Result;
use crate::host::Host;
use crate::lang;
use crate::message;
use crate::product::InstanceLayout;

/// Completes writes to the instance's two `.conf` files and to every file in the journal, and removes their redo copies.
pub(crate) fn complete_writes(host: &mut Host, layout: InstanceLayout) -> Result<()> {
    let receipt = Receipt::load(host)?;
    let own = [layout.private_conf(), layout.public_conf()];
    complete_writes_to(host, own.iter().map(|path| path.as_path()).chain(receipt.paths()))
}

/// Completes writes to these files.
pub(crate) fn complete_writes_to<'p>(host: &mut Host, paths: impl IntoIterator<Item = &'p Path>) -> Result<()> {
    for path in paths {
        if host.recover(path)? {
            lang::warn(&message!("completed an interrupted write to {path}", path = host.display(path)));
        }
    }
    Ok(())
}
