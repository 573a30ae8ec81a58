//! A loaded kernel module. modprobe's silence proves little (FN-16), so what counts is what the kernel says afterwards.

use serde::{Deserialize, Serialize};

use super::{Presence, Resource, ResourceKind, Verb, dkms};
use crate::error::{Class, Error, Result};
use crate::facts::kernel;
use crate::host::{Cmd, Host, Output};
use crate::message;
use crate::message::{Argument, Message};

/// A kernel module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its name.
    pub name: String,
}

impl Resource for Module {
    type State = Presence;
    const KIND: ResourceKind = ResourceKind::Module;

    fn noun(&self) -> Message {
        message!("kernel module {name}", name = &self.name)
    }

    fn paths(&self) -> Vec<&std::path::Path> {
        Vec::new()
    }

    fn verb(&self, _before: &Presence, _after: &Presence) -> Verb {
        Verb::Load
    }

    /// `Present` if it is loaded or built in.
    fn observe(&self, host: &Host) -> Result<Presence> {
        Ok(Presence::of(host.is_live() && kernel::in_kernel(host, &self.name)?))
    }

    /// `modprobe`, or `modprobe -r`. It is an error if a module stays loaded because it is in use.
    fn set(&self, host: &mut Host, state: &Presence) -> Result<()> {
        match (state, self.observe(host)?) {
            (Presence::Present, Presence::Present) | (Presence::Absent, Presence::Absent) => Ok(()),
            (Presence::Present, Presence::Absent) => self.load(host),
            (Presence::Absent, Presence::Present) => self.unload(host),
        }
    }
}

impl Module {
    fn load(&self, host: &mut Host) -> Result<()> {
        let running = kernel::release();
        let mut said = host.run(&Cmd::new("modprobe").arg(&self.name))?;
        let next = kernel::next_with(host, &self.name)?;
        // Without headers dkms skips a module and exits with 0. Another kernel that has the module is then the shorter way
        // (FN-12).
        let worth_building = is_missing(&said) && (next.is_none() || dkms::has_headers(host, &running)?);
        if worth_building && dkms::build(host, &self.name, &running)? {
            said = host.run(&Cmd::new("modprobe").arg(&self.name))?;
        }
        if said.ok() && self.observe(host)? == Presence::Present {
            return Ok(());
        }
        Err(refusal(&self.name, &said, &running, next.as_deref()))
    }

    fn unload(&self, host: &mut Host) -> Result<()> {
        let said = host.run(&Cmd::new("modprobe").args(["-r", self.name.as_str()]))?;
        if said.ok() && self.observe(host)? == Presence::Absent {
            return Ok(());
        }
        let why = if said.stderr.contains("in use") { message!("it is in use").into() } else { words(&said) };
        let stays = Error::unexpected(message!("{resource} stays loaded: {why}", resource = self.noun(), why));
        Err(stays.hint(Message::command(format!("modprobe -r {}", self.name))))
    }
}

fn is_missing(said: &Output) -> bool {
    said.stderr.contains("not found in directory")
}

/// Why modprobe failed. `next` is another installed kernel that has the module.
fn refusal(name: &str, said: &Output, running: &str, next: Option<&str>) -> Error {
    let mentions = |any: &[&str]| any.iter().any(|words| said.stderr.contains(words));
    if mentions(&["Required key not available", "Key was rejected by service", "Loading of unsigned module"]) {
        let refused = message!("Secure Boot refuses the module {name}, which no key it knows has signed", name);
        return Error::unexpected(refused).hint(Message::command("mitigator-vpn explain secure-boot"));
    }
    if is_missing(said) || mentions(&["Unknown symbol", "disagrees about version", "Exec format error"]) {
        return match next {
            Some(next) => Error::new(
                Class::Reboot,
                message!(
                    "the running kernel {running} has no usable module {name}; the installed {next} has",
                    running,
                    name,
                    next
                ),
            ),
            None => {
                Error::unexpected(message!("the running kernel {running} has no usable module {name}", running, name))
                    .hint(Message::command("mitigator-vpn explain kernel-wireguard"))
            }
        };
    }
    if said.ok() {
        return Error::unexpected(message!(
            "modprobe {name} exits with 0, and the kernel has not loaded it: {why}",
            name,
            why = words(said)
        ))
        .hint(Message::command(format!("modprobe -n -v {name}")));
    }
    if mentions(&["Operation not permitted"]) {
        return Error::unexpected(message!(
            "this system may not load the module {name} (a container, or a locked kernel)",
            name
        ))
        .hint(message!("on the container's host: {command}", command = format!("modprobe {name}")));
    }
    Error::unexpected(message!("modprobe {name}: {why}", name, why = words(said)))
        .hint(Message::command("dmesg | tail"))
}

/// The last line that a command printed.
fn words(said: &Output) -> Argument {
    let mut lines = said.stderr.lines().chain(said.stdout.lines()).map(str::trim);
    lines.rfind(|line| !line.is_empty()).map_or_else(|| message!("no reason given").into(), Argument::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: i32, stderr: &str, next: Option<&str>) -> Error {
        let said = Output { code: Some(code), stderr: stderr.into(), ..Output::default() };
        refusal("wireguard", &said, "4.19.0-21-amd64", next)
    }

    #[test]
    fn a_refused_module_has_one_cause() {
        for key in ["Required key not available", "Key was rejected by service"] {
            let error = refused(1, &format!("modprobe: ERROR: could not insert 'wireguard': {key}\n"), None);
            assert!(error.to_string().starts_with("Secure Boot refuses"), "{error}");
            assert_eq!(error.way_out().as_deref(), Some("mitigator-vpn explain secure-boot"));
        }
        let stderr = "modprobe: FATAL: Module wireguard not found in directory /lib/modules/4.19.0-21-amd64\n";
        assert_eq!(refused(1, stderr, None).class().exit_code(), 1);
        let error = refused(1, stderr, Some("5.10.0-30-amd64"));
        assert_eq!(error.class().exit_code(), 4);
        assert!(error.to_string().contains("the installed 5.10.0-30-amd64 has"), "{error}");
    }

    #[test]
    fn silence_without_a_module_is_no_success() {
        let error = refused(0, "", None);
        assert!(error.to_string().contains("exits with 0, and the kernel has not loaded it"), "{error}");
        assert_eq!(error.way_out().as_deref(), Some("modprobe -n -v wireguard"));
    }

    #[test]
    fn a_module_no_kernel_has_is_not_loaded_and_says_why() {
        let mut host = Host::live();
        let module = Module { name: "mitigator_no_such_module".into() };
        assert_eq!(module.observe(&host).unwrap(), Presence::Absent);
        module.set(&mut host, &Presence::Absent).unwrap();
        let error = module.set(&mut host, &Presence::Present).unwrap_err().to_string();
        let reason = if host.has_program("modprobe").unwrap() { "has no usable module" } else { "starting 'modprobe'" };
        assert!(error.contains(reason), "{error}");
    }
}
