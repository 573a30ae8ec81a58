//! Whether the gateway's port is behind the input chains of the host.

use crate::facts::Facts;
use crate::settings::{Settings, StackKind};

/// How packets from outside come to the gateway's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposure {
    /// Docker publishes the port: packets bypass the input chains of the host (FN-22).
    Published,
    /// The gateway lives in the host's own network: packets pass the input chains.
    Host,
    /// Neither: nothing from outside gets there.
    Nowhere,
    /// There is no resolved compose configuration to tell.
    Unknown,
}

impl Exposure {
    pub(crate) fn of(facts: &Facts, settings: &Settings) -> Exposure {
        // Where there is no stack yet, --stack default brings one that lives in the host's network.
        if facts.stack.config.is_none() && settings.stack == StackKind::Default {
            return Exposure::Host;
        }
        let Some(Ok(resolved)) = &facts.stack.config else { return Exposure::Unknown };
        match &resolved.gateway {
            None => Exposure::Unknown,
            Some(gateway) if gateway.host_network => Exposure::Host,
            Some(gateway) if gateway.published.contains_key(&settings.port) => Exposure::Published,
            Some(_) => Exposure::Nowhere,
        }
    }
}
