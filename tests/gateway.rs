//! What the gateway container promises, kept by real processes in real network namespaces: each instance has its own
//! network, mounts and processes, as in a container, and a wire to the others.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]
#![expect(clippy::disallowed_methods, reason = "tests set up their own files and processes")]

#[path = "gateway/leak.rs"]
mod leak;
#[path = "gateway/lifecycle.rs"]
mod lifecycle;
#[path = "gateway/members.rs"]
mod members;
#[path = "gateway/wire.rs"]
mod wire;
