//! Everything that is known about a host, read once, before anything is decided.
//!
//! [`Facts::gather`] reads all parts in parallel; what follows is a pure function of the result. Facts are plain data: a
//! host can be recorded as JSON and replayed in a test. They never hold a secret: of a private key they have the public
//! half, of `.env` the keys that this program owns.
//!
//! A `Result<T, Message>` holds the value, or the reason why it can't be known. Each module fills one part by its
//! `gather`, with pure parsers beside it.

pub(crate) mod clock;
pub(crate) mod docker;
pub mod firewall;
#[cfg(test)]
mod healthy;
pub(crate) mod instance;
pub(crate) mod kernel;
pub(crate) mod machine;
pub(crate) mod net;
pub mod os;
pub mod packages;
pub(crate) mod stack;

use std::thread;

use serde::{Deserialize, Serialize};

pub use clock::Clock;
pub use docker::Docker;
pub use firewall::{Backend, Filter, Firewall, FirewallNote};
pub use instance::{EnvFile, InstanceFacts, PrivateConfFile, TextFile};
pub use kernel::{Kernel, ModuleRefusal, NextKernel, WireGuardSupport};
pub use machine::Machine;
pub use net::{InterfaceAddress, Net, Route, UdpListener};
pub use packages::{ListedSuite, Package, PackageFacts};
pub use stack::StackFacts;

use crate::distro::{Distro, OsRelease};
use crate::host::Host;
use crate::message::Message;
use crate::settings::Settings;

/// Everything that was read from one host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Whether this is a running host; of a mounted tree only files are known.
    pub live: bool,
    /// The release, as os-release names it.
    pub os: OsRelease,
    /// The machine, and whether we are root on it.
    pub machine: Machine,
    /// The kernel and what it can do.
    pub kernel: Kernel,
    /// apt and dpkg.
    pub packages: PackageFacts,
    /// The Docker daemon.
    pub docker: Docker,
    /// The compose command and what it makes of this instance.
    pub stack: StackFacts,
    /// The files in the instance's directory.
    pub instance: InstanceFacts,
    /// Addresses, routes, ports.
    pub net: Net,
    /// The live packet filter.
    pub firewall: Firewall,
    /// The clock.
    pub clock: Clock,
}

impl Facts {
    /// Reads everything in parallel. Nothing fails: a part that can't be known holds the reason. The release is read
    /// first, because it names the packages to ask about.
    pub fn gather(host: &Host, settings: &Settings) -> (Facts, Result<Distro, Message>) {
        let os = os::gather(host);
        let distro = os.as_ref().map_err(Message::from).and_then(Distro::detect);
        let known = distro.as_ref().ok();
        let facts = thread::scope(|scope| {
            let stack = scope.spawn(|| stack::gather(host, settings));
            let packages = scope.spawn(|| packages::gather(host, known, &kernel::running(host)));
            let docker = scope.spawn(|| docker::gather(host));
            let firewall = scope.spawn(|| firewall::gather(host, settings));
            let clock = scope.spawn(|| clock::gather(host));
            let kernel = scope.spawn(|| kernel::gather(host));
            let machine = scope.spawn(|| machine::gather(host, settings));
            Facts {
                live: host.is_live(),
                os: os.unwrap_or_default(),
                instance: instance::gather(host, settings),
                net: net::gather(host),
                machine: joined(machine),
                kernel: joined(kernel),
                clock: joined(clock),
                firewall: joined(firewall),
                docker: joined(docker),
                packages: joined(packages),
                stack: joined(stack),
            }
        });
        (facts, distro)
    }

    /// Reads only the instance's files, which takes a hundredth of the time.
    pub(crate) fn of_files(host: &Host, settings: &Settings) -> Facts {
        Facts { instance: instance::gather(host, settings), ..Facts::default() }
    }
}

/// The result of a thread; a panic in it is passed on.
fn joined<T>(reader: thread::ScopedJoinHandle<'_, T>) -> T {
    reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
