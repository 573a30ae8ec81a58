//! wireguard-go, for kernels without WireGuard: started as a child, ended by taking its interface away.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::signals::{bury, reap};
use crate::error::{Error, Result};
use crate::host::{Cmd, Host};
use crate::wireguard::device::{Device, InterfaceName};

/// The program, and the name of Debian's package of it.
pub const PROGRAM: &str = "wireguard-go";

/// What it makes its interface with.
const TUN: &str = "/dev/net/tun";

/// How long it may take until it answers; a machine under load needs a good part of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts it and waits until the device is there. Leaves nothing behind when that fails.
pub(super) fn start(host: &mut Host, name: &InterfaceName) -> Result<Pid> {
    let Some(program) = host.program(PROGRAM) else {
        return Err(Error::unexpected(format!("this kernel has no WireGuard, and {PROGRAM} is not here either"))
            .hint("give the host's kernel its module: modprobe wireguard"));
    };
    if host.stat(Path::new(TUN))?.is_none() {
        return Err(Error::unexpected(format!("this kernel has no WireGuard, and {PROGRAM} needs {TUN}"))
            .hint(format!("modprobe wireguard on the host, or give the container the device: 'devices: [{TUN}]'")));
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
            return Err(Error::unexpected(format!("{PROGRAM} has ended at once"))
                .hint("its own words are above; a container also needs 'cap_add: [NET_ADMIN]'"));
        }
        if Instant::now() > deadline {
            let _ = kill(child, Signal::SIGKILL);
            bury(child);
            let seconds = PATIENCE.as_secs();
            return Err(Error::unexpected(format!("{PROGRAM} made no interface {name} within {seconds} s")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
