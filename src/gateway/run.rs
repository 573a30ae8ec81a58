//! The container's first process.

use nix::unistd::Pid;

use super::signals::{Signals, await_end};
use super::{Configuration, GatewaySettings, Missing, applied, gone, greet, userspace};
use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::message::Message;
use crate::product::PRODUCT;
use crate::wireguard::PeerList;
use crate::wireguard::device::{self, Address, Device, Implementation, InterfaceName, difference};
use crate::{lang, message};

/// Brings the VPN up, waits until told to stop, takes it down. Without a full configuration it only waits.
pub(crate) fn run(host: &mut Host, settings: &GatewaySettings) -> Result<()> {
    // Before anything is made, so that no signal is lost.
    let signals = Signals::block()?;
    let (address, configuration) = match configuration(host, settings)? {
        Ok(complete) => complete,
        Err(missing) => {
            lang::info(&message!("clustering is off, no VPN is made; missing: {files}", files = &missing));
            return signals.until_stopped(None);
        }
    };
    let name = &settings.files.interface;
    let child = create(host, name, &configuration)?;
    let outcome = configure(host, settings, address, &configuration).and_then(|()| signals.until_stopped(child));
    let gone = take_down(host, name, child);
    outcome.and(gone)
}

/// Address and files, or what is missing of them.
fn configuration(host: &Host, settings: &GatewaySettings) -> Result<Result<(Address, Configuration), Missing>> {
    let Some(address) = settings.address.as_deref().filter(|address| !address.is_empty()) else {
        return Ok(Err(Missing(vec![PRODUCT.address_variable.to_owned()])));
    };
    let address = address.parse().context(Message::foreign(PRODUCT.address_variable))?;
    Ok(Configuration::read(host, &settings.files)?.map(|configuration| (address, configuration)))
}

/// Makes the interface, in the kernel if that has WireGuard. The process is the userspace implementation's.
fn create(host: &mut Host, name: &InterfaceName, configuration: &Configuration) -> Result<Option<Pid>> {
    if device::exists(name) {
        let live = Device::observe(host, name)?;
        // In the host's network an interface outlives a gateway that was killed.
        let own = configuration.private.key.public();
        match live.filter(|live| live.public_key.is_none_or(|key| key == own)) {
            Some(live) if live.implementation == Implementation::Kernel => {
                lang::info(&message!("taking over {name}, left by a gateway that was killed", name));
                return Ok(None);
            }
            // Its process isn't our child, so its end would go unnoticed.
            Some(_) => device::remove(host, name)?,
            None => {
                let reason = message!("there is an interface {name} already, and it is not this gateway's", name);
                let command = format!("ip link delete {name}");
                return Err(Error::input(reason).hint(message!(
                    "choose another name with GATEWAY_INTERFACE, or remove that one: {command}",
                    command
                )));
            }
        }
    }
    if device::create_in_kernel(host, name)? {
        return Ok(None);
    }
    lang::info(&message!("this kernel has no WireGuard: starting {program}", program = userspace::PROGRAM));
    userspace::start(host, name).map(Some)
}

/// Makes the interface what files and address say.
fn configure(
    host: &mut Host,
    settings: &GatewaySettings,
    address: Address,
    configuration: &Configuration,
) -> Result<()> {
    let name = &settings.files.interface;
    let _lock = applied::lock(host, name)?;
    // Up first: only a device that is up says at once that its port is taken.
    device::bring_up(host, name, settings.mtu)?;
    let live = Device::observe(host, name)?.ok_or_else(|| gone(name))?;
    device::apply(host, &live, &difference(&live, &configuration.wanted(), &PeerList::default()))?;
    device::set_address(host, name, address)?;
    applied::remember(host, name, &configuration.list)?;
    let live = Device::observe(host, name)?.ok_or_else(|| gone(name))?;
    configuration.prove(&live)?;
    configuration.warn(address);
    greet(&live);
    lang::info(&message!(
        "{name} is up: {address}, UDP port {port}, {peers} peers, {implementation} WireGuard, public key {key}",
        name,
        address,
        port = configuration.port(),
        peers = live.peers.len(),
        implementation = live.implementation,
        key = configuration.private.key.public(),
    ));
    Ok(())
}

fn take_down(host: &mut Host, name: &InterfaceName, child: Option<Pid>) -> Result<()> {
    let removed = device::remove(host, name);
    if let Some(child) = child {
        await_end(child);
    }
    applied::forget(host, name)?;
    removed
}
