//! Applies the current content of both files to the live interface (C2), without disturbing what is right already.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Files, Place, applied, gone, greet};
use crate::error::{Class, Error, Result};
use crate::host::Host;
use crate::wireguard::device::{self, Changes, Device, difference};

/// What a `reconfigure` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Reconfigured {
    /// The version of this document.
    pub schema: u32,
    /// Whether there is a VPN; without one there was nothing to do.
    pub vpn: bool,
    /// Peers that were added.
    pub added: usize,
    /// Peers that were changed.
    pub changed: usize,
    /// Peers that were removed.
    pub removed: usize,
    /// The new UDP port, if it is new.
    pub port: Option<u16>,
    /// Whether this instance has a new key.
    pub key: bool,
    /// In a few words.
    pub summary: String,
}

impl Reconfigured {
    fn new(vpn: bool, changes: &Changes, summary: String) -> Self {
        Reconfigured {
            schema: 1,
            vpn,
            added: changes.add.len(),
            changed: changes.change.len(),
            removed: changes.remove.len(),
            port: changes.port,
            key: changes.key.is_some(),
            summary,
        }
    }
}

impl fmt::Display for Reconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)
    }
}

/// Reads both files again, sends the difference to the live interface, and proves that none is left. Whatever is wrong
/// with the files, the interface keeps what it has.
pub fn reconfigure(host: &mut Host, place: &Place) -> Result<Reconfigured> {
    let name = &place.interface;
    // One at a time, reading included: the last to start must have read the newest files.
    let _lock = applied::lock(host, name)?;
    let live = Device::observe(host, name)?;
    let (live, files) = match (live, Files::read(host, place)?) {
        (Some(live), Ok(files)) => (live, files),
        (None, Err(missing)) => {
            let summary = format!("clustering is off, there is no VPN: no {}", missing.join(", no "));
            return Ok(Reconfigured::new(false, &Changes::default(), summary));
        }
        (Some(_), Err(missing)) => {
            return Err(Error::input(format!(
                "there is no {} any more: {name} keeps what it has",
                missing.join(", no ")
            ))
            .hint("put it back; to switch clustering off, take it out of .env and restart the stack"));
        }
        (None, Ok(_)) => {
            let error = Error::unexpected(format!("there is no VPN interface {name}"));
            return Err(match Device::names(host).first() {
                Some(other) => error.hint(format!("there is one called {other}: reconfigure --interface {other}")),
                None => error.hint("the gateway makes it when it starts: docker-compose restart gateway"),
            });
        }
    };
    refuse_stale(host, place)?;
    let changes = difference(&live, &files.wanted(), &applied::recall(host, name).unwrap_or_default());
    device::apply(host, &live, &changes)?;
    applied::remember(host, name, &files.list)?;
    let live = Device::observe(host, name)?.ok_or_else(|| gone(name))?;
    files.prove(&live)?;
    greet(&live);
    device::addresses(name)?.first().into_iter().for_each(|address| files.warn(*address));
    let summary = format!("{name}: {changes}");
    tracing::info!("{summary}");
    Ok(Reconfigured::new(true, &changes, summary))
}

/// A file that was replaced on the host by another of the same name is still the old one here (FN-40).
fn refuse_stale(host: &Host, place: &Place) -> Result<()> {
    for path in [&place.public, &place.private] {
        if host.stat(path)?.is_some_and(|stat| stat.links == 0) {
            return Err(Error::new(
                Class::Unproven,
                format!("{} was replaced on the host, and this container still sees the old one", host.display(path)),
            )
            .hint("only a restart of the gateway helps: docker-compose restart gateway"));
        }
    }
    Ok(())
}
