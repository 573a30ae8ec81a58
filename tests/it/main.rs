//! The program's promises, in tiers by what their tests need. A tier is a module here. `scripts/test` runs tiers by name,
//! and parts of them by any part of a test's name.

#![expect(clippy::disallowed_methods, reason = "the fence is for the product; a test sets up its world from outside")]
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "SKIP lines and seeds go to the log")]

mod support;

/// Needs nothing but this machine.
mod unit {
    mod architecture;
    pub mod bad_input;
    mod containment;
    mod contract;
    mod documents;
    mod hardening;
    mod harness;
    mod hints;
    mod journals;
    mod lang;
    pub mod peers;
    pub mod readonly;
    mod recorded;
    pub mod secrets;
    mod supply_chain;
    pub mod tree;
    mod unanswered;
}

/// Needs root and what `scripts/test` installs: other users, mounts, namespaces, Docker, hosts in containers and in
/// namespaces.
mod containers {
    mod ansible;
    mod apt;
    mod bad_input;
    mod cluster;
    mod completion;
    mod container;
    mod crash;
    mod differential;
    mod facts;
    mod fault;
    mod firewall;
    mod firewall_hosts;
    mod fleet;
    mod gateway;
    mod guard;
    mod harness;
    mod hints;
    mod peers;
    mod readonly;
    mod releases;
    mod secrets;
    mod signals;
    mod tree;
    mod unanswered;
}

/// Needs virtual machines, each with a kernel of its own.
mod vm;

/// Needs the nodes of vagrant/, which `scripts/vagrant-test` starts.
mod vagrant;
