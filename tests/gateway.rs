//! What the gateway container promises, kept by real processes in real network namespaces: each instance has its own
//! network, mounts and processes, as in a container, and a wire to the others. `docker.rs` does the same with the
//! image and a Docker daemon.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]
#![expect(clippy::disallowed_methods, reason = "tests set up their own files and processes")]

#[path = "gateway/docker.rs"]
mod docker;
#[path = "gateway/leak.rs"]
mod leak;
#[path = "gateway/lifecycle.rs"]
mod lifecycle;
#[path = "gateway/members.rs"]
mod members;
mod support;
#[path = "gateway/wire.rs"]
mod wire;
