//! Applies the current content of both files to the live interface (C2), without disturbing what is right already.

use super::{Configuration, InterfaceFiles, applied, gone, greet};
use crate::error::{Class, Error, Result};
use crate::host::Host;
use crate::message::Message;
use crate::wireguard::device::{self, Device, DeviceChanges, difference};
use crate::{lang, message};

/// What a `reconfigure` did.
#[derive(Debug)]
pub(crate) struct Reconfigured {
    /// Whether there is a VPN; without one there was nothing to do.
    pub vpn: bool,
    pub changes: DeviceChanges,
    /// In a few words.
    pub summary: Message,
}

/// Reads both files again, sends the difference to the live interface, and proves that none is left. Whatever is wrong
/// with the files, the interface keeps what it has.
pub(crate) fn reconfigure(host: &mut Host, files: &InterfaceFiles) -> Result<Reconfigured> {
    let name = &files.interface;
    // One at a time, reading included: the last to start must have read the newest files.
    let _lock = applied::lock(host, name)?;
    let (live, configuration) = match (Device::observe(host, name)?, Configuration::read(host, files)?) {
        (Some(live), Ok(configuration)) => (live, configuration),
        (None, Err(missing)) => {
            let summary = message!("clustering is off, there is no VPN; missing: {files}", files = &missing);
            return Ok(Reconfigured { vpn: false, changes: DeviceChanges::default(), summary });
        }
        (Some(_), Err(missing)) => {
            let reason = message!("{name} keeps what it has; missing: {files}", name, files = &missing);
            return Err(Error::input(reason)
                .hint(message!("put it back; to switch clustering off, take it out of .env and restart the stack")));
        }
        (None, Ok(_)) => {
            let error = Error::unexpected(message!("there is no VPN interface {name}", name));
            return Err(match Device::names(host)?.first() {
                Some(other) => {
                    let command = format!("reconfigure --interface {other}");
                    error.hint(message!("there is one called {other}: {command}", other, command))
                }
                None => error.hint(message!(
                    "the gateway makes it when it starts: {command}",
                    command = "docker-compose restart gateway"
                )),
            });
        }
    };
    refuse_stale(host, files)?;
    let changes = difference(&live, &configuration.wanted(), &applied::recall(host, name)?.unwrap_or_default());
    device::apply(host, &live, &changes)?;
    applied::remember(host, name, &configuration.list)?;
    let live = Device::observe(host, name)?.ok_or_else(|| gone(name))?;
    configuration.prove(&live)?;
    greet(&live);
    device::addresses(name)?.first().into_iter().for_each(|address| configuration.warn(*address));
    let summary = message!("{name}: {changes}", name, changes = Message::from(&changes));
    lang::info(&summary);
    Ok(Reconfigured { vpn: true, changes, summary })
}

/// A file that was replaced on the host by another of the same name is still the old one here (FN-40).
fn refuse_stale(host: &Host, files: &InterfaceFiles) -> Result<()> {
    for path in [&files.public, &files.private] {
        if host.stat(path)?.is_some_and(|stat| stat.links == 0) {
            let reason = message!(
                "{path} was replaced on the host, and this container still sees the old one",
                path = host.display(path)
            );
            return Err(Error::new(Class::Unproven, reason).hint(message!(
                "only a restart of the gateway helps: {command}",
                command = "docker-compose restart gateway"
            )));
        }
    }
    Ok(())
}
