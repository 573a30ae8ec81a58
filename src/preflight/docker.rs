//! Checks of: Docker.

use super::packages::apt_install;
use super::{Check, Inputs, Judgement, Needs, Part, explained, id};
use crate::message;
use crate::message::Message;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: id::DOCKER,
        title: "Docker is there and its daemon answers",
        note: None,
        needs: Needs::LiveHost,
        rests_on: &[Part::Docker],
        run: docker,
        explain: "\
The product runs as a Docker Compose stack. Looked for: a program `docker`, and the daemon's answer to `docker version`.

Debian 10 to 12, Ubuntu: `apt-get install docker.io`.
Debian 13: `apt-get install docker.io docker-cli`; the client is a package of its own there.
Docker's own packages do as well; don't mix the two. A daemon that is installed and doesn't run:
`systemctl start docker`; why it doesn't: `journalctl -u docker -n 50`. \"permission denied\" means that this isn't run
as root.",
    },
    Check {
        id: id::DOCKER_NOT_SNAP,
        title: "Docker is not the snap",
        note: Some("FN-39"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Docker],
        run: docker_not_snap,
        explain: "\
The Docker snap is confined to a few directories: a container of it can't mount files from /srv, so the gateway would
never see vpn-public.conf and vpn-private.conf. It is known by its client in /snap/bin, or by its data in
/var/snap/docker where no other daemon is installed.

The way out is another Docker: save what the snap's volumes hold (`docker volume ls`), then
`snap remove docker` and `apt-get install docker.io`. Removing the snap stops every container it runs and takes its
volumes away, so the time and the backup are yours to choose.",
    },
];

fn docker(inputs: &Inputs) -> Judgement {
    let docker = &inputs.facts.docker;
    if !docker.present {
        let packages = inputs.distro.map_or("docker.io".to_owned(), |distro| distro.packages.docker.join(" "));
        let hint = Message::command(apt_install(inputs, &packages));
        return Judgement::fail(message!("there is no docker program"), hint);
    }
    match &docker.daemon {
        Ok(version) => Judgement::pass(message!("Docker {version}", version)),
        Err(reason) if !inputs.facts.machine.is_root => Judgement::unknown(message!("needs root: {reason}", reason)),
        Err(reason) => {
            let start = if inputs.facts.machine.systemd { "systemctl start docker" } else { "service docker start" };
            Judgement::fail(message!("the Docker daemon doesn't answer: {reason}", reason), Message::command(start))
        }
    }
}

fn docker_not_snap(inputs: &Inputs) -> Judgement {
    let docker = &inputs.facts.docker;
    if docker.snap {
        let detail = message!("Docker is the snap, whose containers can't mount files from /srv");
        return Judgement::fail(detail, explained(id::DOCKER_NOT_SNAP));
    }
    Judgement::pass(if docker.present {
        message!("Docker is not the snap")
    } else {
        message!("Docker is not installed")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use crate::preflight::Severity::{Fail, Pass, Unknown};
    use crate::preflight::tests::outcome;

    #[test]
    fn a_healthy_host_passes_every_row() {
        for check in CHECKS {
            assert_eq!(outcome(check.id, &Facts::healthy()).0, Pass, "{}", check.id);
        }
    }

    #[test]
    fn no_docker_and_a_silent_daemon_fail_with_different_ways_out() {
        let mut facts = Facts::healthy();
        facts.docker.daemon = Err(Message::foreign("Cannot connect to the Docker daemon"));
        let (severity, text) = outcome("docker", &facts);
        assert_eq!(severity, Fail);
        assert!(text.contains("Cannot connect") && text.contains("systemctl start docker"), "{text}");
        facts.machine.systemd = false;
        assert!(outcome("docker", &facts).1.contains("service docker start"));
        facts.docker.present = false;
        let (severity, text) = outcome("docker", &facts);
        assert_eq!(severity, Fail);
        assert!(text.contains("[apt-get install docker.io"), "{text}");
        facts.packages.lists_age = None;
        let (_, text) = outcome("docker", &facts);
        assert!(
            text.contains("[apt-get update && apt-get install docker.io"),
            "apt knows no package without lists: {text}"
        );
    }

    #[test]
    fn without_root_a_silent_daemon_proves_nothing() {
        let mut facts = Facts::healthy();
        facts.machine.is_root = false;
        facts.docker.daemon = Err(Message::foreign("permission denied"));
        assert_eq!(outcome("docker", &facts).0, Unknown);
    }

    #[test]
    fn the_snap_fails_with_its_reason() {
        let mut facts = Facts::healthy();
        facts.docker.snap = true;
        let (severity, text) = outcome("docker-not-snap", &facts);
        assert_eq!(severity, Fail);
        assert!(text.contains("can't mount files from /srv"), "{text}");
    }
}
