//! What this process does before anything else: its memory holds private keys, and its files have the modes it gives them.

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

use crate::error::{Context, Result};
use crate::message;

/// No byte: but a limit of 0 is not enforced where the kernel pipes a core dump into a program, and one of 1 is. Children
/// inherit it, wireguard-go with the key among them.
const NO_CORE: u64 = 1;

/// Keeps the memory of this process out of core dumps and away from other processes of its user, and makes files and
/// directories as readable as they are meant to be, whatever umask the caller has.
pub fn harden() -> Result<()> {
    let what = || message!("switching core dumps off");
    set_dumpable(false).with_context(what)?;
    let (_, most) = getrlimit(Resource::RLIMIT_CORE).with_context(what)?;
    setrlimit(Resource::RLIMIT_CORE, NO_CORE.min(most), most).with_context(what)?;
    umask(Mode::from_bits_truncate(0o022));
    Ok(())
}
