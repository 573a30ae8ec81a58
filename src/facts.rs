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
pub(crate) mod reading;
pub(crate) mod stack;

use std::thread;

use serde::{Deserialize, Serialize};

pub use clock::Clock;
pub use docker::Docker;
pub use firewall::{Backend, Filter, Firewall, FirewallNote, Refusal};
pub use instance::{EnvFile, InstanceFacts, PrivateConfFile, TextFile};
pub use kernel::{Kernel, ModuleRefusal, NextKernel, WireGuardSupport};
pub use machine::Machine;
pub use net::{InterfaceAddress, Net, Route, UdpListener};
pub use packages::{ListedSuite, Package, PackageFacts};
pub use reading::{Part, Reading, Unread};
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
    /// Why the journal can't be used; `None` when it can, or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalProblem>,
    /// What couldn't be read. Where a part has a hole, an empty value in it means nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<Unread>,
}

/// Why a journal of earlier runs can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalProblem {
    /// What is wrong with it.
    pub reason: Message,
    /// The way out.
    pub hint: Message,
}

impl Facts {
    /// Reads everything in parallel. Nothing fails: a part that can't be known holds the reason, or it is in `unread`. The
    /// release is read first, because it names the packages to ask about.
    pub fn gather(host: &Host, settings: &Settings) -> (Facts, Result<Distro, Message>) {
        let os = os::gather(host);
        let distro = os.as_ref().map_err(Message::from).and_then(Distro::detect);
        let known = distro.as_ref().ok();
        let facts = thread::scope(|scope| {
            let release = kernel::running(host);
            let stack = scope.spawn(|| Reading::part(host, Part::Stack, |reading| stack::gather(reading, settings)));
            let packages = scope.spawn(move || {
                Reading::part(host, Part::Packages, |reading| packages::gather(reading, known, &release))
            });
            let docker = scope.spawn(|| Reading::part(host, Part::Docker, docker::gather));
            let firewall = scope.spawn(|| firewall::gather(host, settings));
            let clock = scope.spawn(|| clock::gather(host));
            let kernel = scope.spawn(|| Reading::part(host, Part::Kernel, kernel::gather));
            let machine =
                scope.spawn(|| Reading::part(host, Part::Machine, |reading| machine::gather(reading, settings)));
            let mut unread = Vec::new();
            Facts {
                live: host.is_live(),
                os: os.unwrap_or_default(),
                instance: noting(&mut unread, instance_of(host, settings)),
                net: noting(&mut unread, Reading::part(host, Part::Net, net::gather)),
                machine: noting(&mut unread, joined(machine)),
                kernel: noting(&mut unread, joined(kernel)),
                clock: joined(clock),
                firewall: joined(firewall),
                docker: noting(&mut unread, joined(docker)),
                packages: noting(&mut unread, joined(packages)),
                stack: noting(&mut unread, joined(stack)),
                journal: None,
                unread,
            }
        });
        (facts, distro)
    }

    /// Reads only the instance's files, which takes a hundredth of the time.
    pub(crate) fn of_files(host: &Host, settings: &Settings) -> Facts {
        let (instance, unread) = instance_of(host, settings);
        Facts { instance, unread, ..Facts::default() }
    }

    /// Why a plan can't be made: a question that decides about a step got no answer.
    pub(crate) fn undecided(&self) -> impl Iterator<Item = &Unread> {
        self.unread.iter().filter(|unread| unread.decides_steps(self.live))
    }
}

fn instance_of(host: &Host, settings: &Settings) -> (InstanceFacts, Vec<Unread>) {
    Reading::part(host, Part::Instance, |reading| instance::gather(reading, settings))
}

fn noting<T>(unread: &mut Vec<Unread>, (facts, holes): (T, Vec<Unread>)) -> T {
    unread.extend(holes);
    facts
}

/// The result of a thread; a panic in it is passed on.
fn joined<T>(reader: thread::ScopedJoinHandle<'_, T>) -> T {
    reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
