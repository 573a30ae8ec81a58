//! `mitigator-vpn` turns a bare supported host into a proven member of the Mitigator cluster VPN and keeps it one: it reads
//! the host, says everything that would go wrong before it changes anything, shows the plan, applies it so that it can be
//! killed at any instant, proves the result by handshakes, and can take back exactly what it did.
//!
//! # The pipeline
//!
//! ```text
//! cli ──► settings ─┐
//! host ─► facts ────┼─► preflight ──► desired ──► plan ──► apply ──► verify      (converge runs it, one host)
//! distros/, product ┘   findings      resources   steps      │       reachability
//!                                                          journal ◄── undo, resume
//!
//! cluster.toml ─► inventory ─► hosts (ssh) ─► merge ─► action ─► rollout ─► status   (cluster runs it, all hosts)
//!                                │ a JSON line each way
//!                                └► agent: this executable on the host, which calls converge there
//! ```
//!
//! # Layers
//!
//! Each module imports only from the rows below its own; `tests/it/unit/architecture.rs` holds this table.
//!
//! | | |
//! |---|---|
//! | [`commands`] | one file a command: parsed options, a call, a document, an exit code. No decisions |
//! | [`report`] | documents as types; beside them, one file a rendering |
//! | [`cli`] | what can be typed |
//! | [`cluster`] | the operator's side of many hosts, and the agent on each |
//! | [`converge`] | survey, plan, apply, verify; journal, undo, resume. `install` and the agent call the same functions |
//! | [`preflight`], [`desired`] | pure: rows of checks; the end state as an ordered list of resources |
//! | [`resource`] | one kind a file: `observe(&Host)` and `set(&mut Host)`, with a state type of its own |
//! | [`policy`] | pure: what preflight and desired both have to decide |
//! | `tunnel` | the live device: one observation, one probe, one file of timings, path MTU |
//! | [`facts`] | readers, side by side; plain data |
//! | [`distro`], [`gateway`] | a release as data; the container's side and the image of it |
//! | [`compose`], [`wireguard`] | the nouns of their fields |
//! | [`progress`], [`host`] | what long work shows; the only place that touches files and processes |
//! | [`settings`], [`lang`], [`error`], [`mod@message`] | what was asked for; languages; failures with their way out; what is said, as a value |
//! | [`product`] | what the vendor's product calls things: files, services, ports, mounts, variables |
//!
//! Beside them, for tests and under `cfg(fuzzing)` alone, `fuzzing` has the parsers' promises as functions of bytes.
//!
//! # Rules
//!
//! - **`&Host` reads, `&mut Host` changes.** The compiler keeps `preflight`, `plan` and `status` from altering anything, and a
//!   clippy list keeps everyone else off `std::fs` and `std::process`. A dry run is no flag: it stops after the plan.
//! - **A path is walked inside its root** (`host::place`): no link or `..` of a mounted tree leads out of it.
//! - **A resource is two functions.** Apply is `set(desired)`, undo is `set(before)`; after `set(s)`, `observe()` meets `s`. What
//!   is already right never enters the plan, so undo can't touch what this program didn't make.
//! - **Journal first.** Each step is on disk, fsynced, before it changes anything. A step that began and never finished is
//!   this program's, however torn. Undo keeps what somebody else has changed since.
//! - **A container keeps seeing vpn-public.conf.** Docker binds it by inode, so a file that is mounted somewhere is written in
//!   place behind a redo copy, and any other is renamed over. `host::write` alone decides (FN-40).
//! - **One decision, one place, one type.** Whether a change means the list alone, a whole run or an outage is decided in
//!   [`converge`] and travels as an enum. Nothing is parsed back that this program rendered.
//! - **Words are values.** A [`message::Message`] is its English sentence and its arguments. `Display` is the English, a
//!   translation is an exact lookup, and what others say is only ever an argument, without its control characters.
//! - **No secret leaves its file.** A private key is split from its file's text where it is read
//!   ([`wireguard::PrivateConf`]); plans, journal and reports know the text around it and the public half.
//! - **What can't be read is unknown.** A question without an answer is a hole in the facts (`facts::reading`), with its cause:
//!   no check passes by it, and no step follows from it.
//! - **What must not stop half way outlives this process.** A stack's restart and the guard of a change are jobs of the host
//!   (`host::job`); signals wait until the step under way is complete (`host::interruption`).
//! - **No single host decides who is a member.** `cluster::membership` weighs what `cluster.toml` and the lists say;
//!   docs/threat-model.md has the reasons.
//! - **Who is gone stays gone.** A list can't say who was in it: each host keeps a `wireguard::History` beside it, of
//!   removals and retired keys, which merges in any order; the agent takes no list that brings back somebody who is gone.
//! - **Nobody is dropped from the list.** It is the union of what is here, what `--peers` brings and this instance; a member
//!   leaves by `peers remove` or `cluster remove` alone (FN-49).
//!
//! # Rejected
//!
//! Trait objects with a registry (one closed enum makes a new kind a compile error at every dispatch); hand-written reverts
//! (they drift from apply); a dependency graph (an ordered list reads better); async (threads are enough for ssh); mocks of
//! the file system (a temporary root exercises real IO); one receipt written at the end (a kill leaves none); fluent or
//! gettext for languages (a table by the English sentence is one small file, and the source stays readable).

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
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
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
