//! `mitigator-vpn` turns a bare supported host into a proven member of the Mitigator cluster VPN: it reads the host,
//! says everything that would go wrong before it changes anything, shows the plan, applies it so that it can be killed
//! at any instant, proves the result by handshakes, and can take back exactly what it did.
//!
//! # The way of the data
//!
//! ```text
//! cli ──► settings ─┐
//! host ─► facts ────┼─► preflight ─► desired ─► plan ─► apply ─► tunnel (the proof)
//! distros/ ► distro ┘   (findings)  (resources) (steps)   │
//!                                                        journal ◄── undo, some other day
//! ```
//!
//! - [`host`] is the only place that touches files and processes. `&Host` reads, `&mut Host` changes: the compiler keeps
//!   `preflight`, `plan` and `status` from altering anything, and a clippy list keeps everyone else off `std::fs`.
//! - [`facts`] is everything there is to know, read once and side by side; plain data, without secrets.
//! - [`distro`] is a release as data: which packages, never how. One TOML file each in `distros/`.
//! - [`policy`] is what follows from the facts and the settings, for preflight and desired alike. Pure.
//! - [`preflight`] is a table of checks, each a pure function of the facts. All run before any verdict.
//! - [`desired`] is the end state as a list of resources in the order of the job: the procedure itself, read top to
//!   bottom. Pure.
//! - [`resource`] has the kinds, one file and one state type each: `observe(&Host)` returns the state, `set(&mut Host, &State)`
//!   brings it about, with one law: after `set(s)`, `observe()` meets `s`. Apply is `set(desired)`, undo is `set(before)`;
//!   there is no code that reverts. Everything that differs by kind is a method of the kind.
//! - [`converge`] is the pipeline, which `install` and the agent of a cluster run call alike. The survey reads, completes the
//!   settings and checks. [`converge::plan`] is the difference: what is already right never enters it, so undo can't touch
//!   what this program didn't make. [`converge::apply`] announces each step in the [`converge::journal`], fsynced, before it
//!   sets it, and observes it afterwards. The journal is the receipt: [`converge::undo`] walks it backwards, and keeps what
//!   somebody else has changed since. What a change means for a running instance (nothing, its list, an install, which
//!   outage) is decided by one function, and travels as a type.
//! - [`tunnel`] looks at the live device from the host and proves it by handshakes; [`gateway`] is the other side, what
//!   runs inside the container, and the image made from this very executable.
//! - [`cluster`] is many hosts at once: over ssh it speaks to this same executable on each of them, which runs the
//!   pipeline above there. What hosts have is the state, cluster.toml the wish, and nothing is remembered in between.
//! - [`report`] is what is said, to people and as JSON; [`lang`] makes Russian of it for those who read that; [`commands`]
//!   ties it together, one file a command.
//!
//! # What is kept, and where it is decided
//!
//! - **A container keeps seeing vpn-public.conf.** Docker binds it by inode, so a file that is mounted somewhere is
//!   written in place behind a redo copy, any other is renamed over. `host::write` alone decides (FN-40).
//! - **No secret leaves its file.** A private key is split from its file's text where it is read
//!   ([`wireguard::PrivateConf`]); plans, journal and reports know the text around it and the public half. Of `.env`
//!   only our own keys are ever read into facts.
//! - **Nobody is dropped from the list.** It is the union of what is here, what `--peers` brings and ourselves; a member
//!   leaves by `peers remove` or `cluster remove` alone (FN-49).
//! - **One run at a time**, by a flock on the root directory: nothing to leave behind (`host::lock`).
//!
//! # Tried and left
//!
//! Trait objects with a registry (one closed enum: a new kind is a compile error at every dispatch); hand-written
//! reverts (they drift from apply); a dependency graph (an ordered list reads better); async (threads are enough); mocks
//! of the file system (a temporary root exercises real IO); one receipt written at the end (a kill leaves none).

#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "tests set up their own files"))]

pub mod cli;
pub mod cluster;
pub mod commands;
pub mod compose;
pub mod converge;
pub mod desired;
pub mod distro;
pub mod error;
pub mod facts;
pub mod gateway;
pub mod host;
pub mod lang;
pub mod message;
pub mod policy;
pub mod preflight;
pub mod product;
pub mod progress;
pub mod report;
pub mod resource;
pub mod settings;
pub(crate) mod tunnel;
pub mod wireguard;
