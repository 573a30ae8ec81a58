//! A guard takes back a change that could cut off the operator's connection, unless it is confirmed over a new connection.
//!
//! A guard is a file in /run, and confirming removes the file. So the confirmation needs nothing but a new connection, and
//! a reboot leaves nothing behind.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::converge::plan::Plan;
use crate::error::{Class, Error, Result};
use crate::host::{Host, Mode};
use crate::message;
use crate::resource::Step;
use crate::settings::Settings;
use crate::wireguard::{Network, PrivateKey};

const DIRECTORY: &str = "/run/mitigator-vpn";

/// The guard of one change.
#[derive(Debug)]
pub(super) struct Guard {
    /// The name to confirm it by.
    pub(super) name: String,
    patience: Duration,
}

/// Whether a change could cut off the connection: it goes through the VPN itself, or the packet filter changes.
pub(super) fn is_needed(plan: &Plan, settings: &Settings, connection: &[IpAddr]) -> bool {
    plan.steps.iter().any(Step::may_cut_connections) || !plan.is_empty() && is_through_vpn(settings, connection)
}

/// Whether one of the connection's ends is inside the VPN.
pub(super) fn is_through_vpn(settings: &Settings, connection: &[IpAddr]) -> bool {
    let Some(vpn) = settings.vpn_address.map(|own| Network::of(own, settings.prefix)) else { return false };
    connection.iter().any(|address| match address.to_canonical() {
        IpAddr::V4(address) => vpn.contains(address),
        IpAddr::V6(_) => false,
    })
}

impl Guard {
    /// Posts a guard, before the change.
    pub(super) fn post(host: &mut Host, patience: Duration) -> Result<Guard> {
        // The name can't be guessed by anybody who doesn't get this agent's reply.
        let random = PrivateKey::generate().public();
        let name = random.as_bytes().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let guard = Guard { name, patience };
        for dir in ["/run", DIRECTORY] {
            host.create_dir(Path::new(dir), Mode::DIRECTORY)?;
        }
        host.write(&path(&guard.name), b"", Mode::SECRET)?;
        Ok(guard)
    }

    /// Waits for the confirmation, at most as long as the guard's patience.
    pub(super) fn is_confirmed(&self, host: &mut Host) -> Result<bool> {
        let deadline = Instant::now() + self.patience;
        while host.stat(&path(&self.name))?.is_some() {
            if Instant::now() >= deadline {
                host.remove(&path(&self.name))?;
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(true)
    }
}

/// Confirms the guarded change.
pub(super) fn confirm(host: &mut Host, name: &str) -> Result<()> {
    let known = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !known || host.stat(&path(name))?.is_none() {
        return Err(Error::new(Class::Unproven, message!("too late: it has been taken back")));
    }
    host.remove(&path(name))
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("guard-{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Content, File, Transition};

    fn host() -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path()).unwrap();
        (dir, host)
    }

    #[test]
    fn a_change_stays_only_if_somebody_confirms_it_in_time() {
        let (_dir, mut host) = host();
        let guard = Guard::post(&mut host, Duration::from_secs(60)).unwrap();
        assert!(confirm(&mut host, "0123456789abcdef").is_err() && confirm(&mut host, "../../etc/passwd").is_err());
        confirm(&mut host, &guard.name).unwrap();
        assert!(guard.is_confirmed(&mut host).unwrap());
        let guard = Guard::post(&mut host, Duration::ZERO).unwrap();
        assert!(!guard.is_confirmed(&mut host).unwrap());
        assert!(confirm(&mut host, &guard.name).unwrap_err().to_string().contains("too late"));
    }

    #[test]
    fn a_guard_is_posted_where_the_connection_goes_through_the_vpn() {
        let settings = Settings { vpn_address: Some([10, 8, 3, 1].into()), ..Settings::default() };
        let (resource, after) = (File { path: "/f".into() }, Content::Text("x".into()));
        let plan = Plan { steps: vec![Transition { resource, before: Content::Absent, after }.into()] };
        let needed = |plan: &Plan, way: &str| is_needed(plan, &settings, &[way.parse().unwrap()]);
        assert!(needed(&plan, "10.8.3.9") && needed(&plan, "::ffff:10.8.3.9"));
        assert!(!needed(&plan, "192.0.2.9") && !needed(&plan, "2001:db8::1"));
        assert!(!needed(&Plan::default(), "10.8.3.9"), "nothing changes");
    }
}
