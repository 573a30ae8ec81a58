//! wireguard-go, for kernels without WireGuard. It is started as a child, and ends when its interface is removed.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::signals::{await_end, reap};
use crate::error::{Error, Result};
use crate::host::{Cmd, Host};
use crate::message;
use crate::wireguard::device::{Device, InterfaceName};

/// The program, and the name of Debian's package of it.
pub const PROGRAM: &str = "wireguard-go";

/// The device that it makes its interface with.
const TUN: &str = "/dev/net/tun";

/// How long it may take until it answers. A machine under load needs several seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts it and waits until the device is there. Leaves nothing behind when that fails.
pub(super) fn start(host: &mut Host, name: &InterfaceName) -> Result<Pid> {
    let Some(program) = host.program(PROGRAM)? else {
        let reason = message!("this kernel has no WireGuard, and {program} is not here either", program = PROGRAM);
        let command = "modprobe wireguard";
        return Err(Error::unexpected(reason).hint(message!("give the host's kernel its module: {command}", command)));
    };
    if host.stat(Path::new(TUN))?.is_none() {
        let reason = message!("this kernel has no WireGuard, and {program} needs {tun}", program = PROGRAM, tun = TUN);
        return Err(Error::unexpected(reason).hint(message!(
            "modprobe wireguard on the host, or give the container the device: {device}",
            device = format!("'devices: [{TUN}]'")
        )));
    }
    let program = program.display().to_string();
    let cmd = Cmd::new(program).arg(name.as_str()).env("WG_PROCESS_FOREGROUND", "1").env("LOG_LEVEL", "error");
    let child = host.start(&cmd)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if Device::observe(host, name)?.is_some_and(|device| device.listen_port.is_some()) {
            return Ok(child);
        }
        if reap(child).is_some() {
            return Err(Error::unexpected(message!("{program} has ended at once", program = PROGRAM))
                .hint(message!("its own output is above; a container also needs 'cap_add: [NET_ADMIN]'")));
        }
        if Instant::now() > deadline {
            let _ = kill(child, Signal::SIGKILL);
            await_end(child);
            return Err(Error::unexpected(message!(
                "{program} made no interface {name} within {seconds} s",
                program = PROGRAM,
                name,
                seconds = PATIENCE.as_secs()
            )));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
