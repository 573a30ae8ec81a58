//! What the gateway container promises, kept by real processes in real network namespaces: each instance has its own
//! network, mounts and processes, as in a container, and a wire to the others. `docker.rs` does the same with the
//! image and a Docker daemon.

mod docker;
mod leak;
mod lifecycle;
mod members;
pub mod wire;
