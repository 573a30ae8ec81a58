//! The container's first process.

use nix::unistd::Pid;

use super::signals::{Signals, bury};
use super::{Files, Settings, applied, gone, greet, userspace};
use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::product::PRODUCT;
use crate::wireguard::PeerList;
use crate::wireguard::device::{self, Address, Device, Implementation, InterfaceName, difference};

/// Brings the VPN up, waits until told to stop, takes it down. Without a full configuration it only waits.
pub fn run(host: &mut Host, settings: &Settings) -> Result<()> {
    // Before anything is made: a signal that comes early waits for us.
    let signals = Signals::block()?;
    let (address, files) = match configuration(host, settings)? {
        Ok(complete) => complete,
        Err(missing) => {
            tracing::info!("clustering is off, no VPN is made: there is no {}", missing.join(", no "));
            return signals.until_stopped(None);
        }
    };
    let name = &settings.place.interface;
    let child = create(host, name, &files)?;
    let outcome = configure(host, settings, address, &files).and_then(|()| signals.until_stopped(child));
    let gone = take_down(host, name, child);
    outcome.and(gone)
}

/// Address and files, or what is missing of them.
fn configuration(host: &Host, settings: &Settings) -> Result<Result<(Address, Files), Vec<String>>> {
    let Some(address) = settings.address.as_deref().filter(|address| !address.is_empty()) else {
        return Ok(Err(vec![PRODUCT.address_variable.to_owned()]));
    };
    let address = address.parse().context(PRODUCT.address_variable)?;
    Ok(Files::read(host, &settings.place)?.map(|files| (address, files)))
}

/// Makes the interface, in the kernel if that has WireGuard. The process is the userspace implementation's.
fn create(host: &mut Host, name: &InterfaceName, files: &Files) -> Result<Option<Pid>> {
    if device::exists(name) {
        let live = Device::observe(host, name)?;
        // In the host's network an interface outlives a gateway that was killed.
        let own = files.private.key.public();
        match live.filter(|live| live.public_key.is_none_or(|key| key == own)) {
            Some(live) if live.implementation == Implementation::Kernel => {
                tracing::info!("taking over {name}, left by a gateway that was killed");
                return Ok(None);
            }
            // Its process isn't our child: we would never know that it has ended.
            Some(_) => device::remove(host, name)?,
            None => {
                return Err(Error::input(format!(
                    "there is an interface {name} already, and it is not this gateway's"
                ))
                .hint(format!(
                    "choose another name with GATEWAY_INTERFACE, or remove that one: ip link delete {name}"
                )));
            }
        }
    }
    if device::create_in_kernel(host, name)? {
        return Ok(None);
    }
    tracing::info!("this kernel has no WireGuard: starting {}", userspace::PROGRAM);
    userspace::start(host, name).map(Some)
}

/// Makes the interface what files and address say.
fn configure(host: &mut Host, settings: &Settings, address: Address, files: &Files) -> Result<()> {
    let name = &settings.place.interface;
    let _lock = applied::lock(host, name)?;
    // Up first: only a device that is up says at once that its port is taken.
    device::bring_up(host, name, settings.mtu)?;
    let live = Device::observe(host, name)?.ok_or_else(|| gone(name))?;
    device::apply(host, &live, &difference(&live, &files.wanted(), &PeerList::default()))?;
    device::set_address(host, name, address)?;
    applied::remember(host, name, &files.list)?;
    let live = Device::observe(host, name)?.ok_or_else(|| gone(name))?;
    files.prove(&live)?;
    files.warn(address);
    greet(&live);
    tracing::info!(
        "{name} is up: {address}, UDP port {}, {} peers, {} WireGuard, public key {}",
        files.port(),
        live.peers.len(),
        live.implementation,
        files.private.key.public(),
    );
    Ok(())
}

fn take_down(host: &mut Host, name: &InterfaceName, child: Option<Pid>) -> Result<()> {
    let removed = device::remove(host, name);
    if let Some(child) = child {
        bury(child);
    }
    applied::forget(host, name)?;
    removed
}
