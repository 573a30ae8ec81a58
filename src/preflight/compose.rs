//! Checks of: compose, and what it makes of this instance.

use super::packages::apt_install;
use super::{Check, Inputs, Judgement, Needs, Part, id};
use crate::compose::Generation;
use crate::message::Message;
use crate::product::PRODUCT;
use crate::settings::{Settings, StackKind};
use crate::{counted, message};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: id::COMPOSE,
        title: "compose is there and resolves the stack",
        note: Some("FN-35"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Stack, Part::Docker],
        run: compose,
        explain: "\
The stack is stopped and started by docker-compose, of either generation and under either spelling (`docker-compose`
or `docker compose`); the one that made the running containers is used, else the newest. It must be able to resolve the
instance's files: `docker-compose config` prints what it makes of them, or why it can't. A service called `gateway` must
be among its services, for that one carries the VPN.

No compose: Debian has it as docker-compose (version 1 up to Debian 12, version 2 in Debian 13), Ubuntu as
docker-compose-v2; beside Docker's own packages it is docker-compose-plugin, and only that.
Version 1 on a Docker Engine of version 25 or later fails with KeyError 'ContainerConfig' when it replaces a container.
Debian 10 to 12 have such an engine from Docker's own repository: `apt-get install docker-compose-plugin`.
Ubuntu with its own docker.io: `apt-get install docker-compose-v2`.
No `gateway` service: this is not a Mitigator stack, or its version is older than clustering. On a host without any
stack, `--stack default` brings this project's own gateway, for trials and tests.",
    },
    Check {
        id: id::MOUNT_FRESH,
        title: "the gateway sees the files as they are",
        note: Some("FN-40"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Stack, Part::Instance],
        run: mount_fresh,
        explain: "\
Docker mounts vpn-public.conf and vpn-private.conf into the gateway by inode. When such a file is replaced instead of
written into, the container keeps the old one. `sed -i`, `mv`, `install`, Ansible and most editors replace files.
`reconfigure` then succeeds and applies the old peers.

It is decided by comparing device and inode of the file on the host with what the gateway's process sees at the
mount. Only a new container helps: `install` makes one (it asks first, for it is an outage), or
`docker-compose up -d --no-deps --force-recreate gateway`. This program writes into the file while it is mounted; to
edit the list by hand use `mitigator-vpn peers`.",
    },
    Check {
        id: id::GATEWAY_ADDRESS,
        title: "the gateway gets this instance's address",
        note: Some("FN-32"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Stack, Part::Instance],
        run: gateway_address,
        explain:
            "\
The overlay gives the gateway MITIGATOR_VPN_ADDRESS from .env as its address, and 10.8.3.1 when that is empty or
missing: a second instance would then have the first one's address. Another compose file, an override for example, can
replace the address as well.

It is decided by what compose itself resolves GATEWAY_ADDRESS to, with a clean environment. See it with
`docker-compose config`; then take the setting out of the file that overrides it, or set MITIGATOR_VPN_ADDRESS in .env.",
    },
];

fn compose(inputs: &Inputs) -> Judgement {
    let (stack, docker, settings) = (&inputs.facts.stack, &inputs.facts.docker, inputs.settings);
    let dir = &settings.dir.display().to_string();
    let Some(command) = stack.commands.first() else {
        let package = inputs.distro.map_or("docker-compose", |distro| &distro.packages.compose);
        let detail = message!("neither 'docker-compose' nor 'docker compose' works");
        return Judgement::fail(detail, Message::command(apt_install(inputs, package)));
    };
    let (compose, version) = (command.command_line(), &command.version);
    let config = || Message::command(format!("cd {dir} && {compose} config"));
    let engine = docker.daemon.as_ref().ok().and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    if command.generation == Generation::V1 && !is_plain(dir) {
        return Judgement::fail(
            message!(
                "{compose} {version} can't mount files of {dir}: it takes only ASCII without a colon",
                compose,
                version,
                dir
            ),
            Message::joined(
                vec![message!("use another directory: {option}", option = "--dir DIR"), second_generation(inputs)],
                "\n",
            ),
        );
    }
    match &stack.config {
        None if settings.stack == StackKind::Default => {
            Judgement::pass(message!("{compose} {version}; install brings the default stack", compose, version))
        }
        None => Judgement::fail(
            message!("there is no docker-compose.yml in {dir}", dir),
            message!(
                "install Mitigator first; or, to try a gateway of this project's own: {command}",
                command = Settings { stack: StackKind::Default, ..settings.clone() }.first_install("")
            ),
        ),
        Some(Err(words)) => Judgement::fail(words.clone(), config()),
        Some(Ok(resolved)) if resolved.gateway.is_none() => Judgement::fail(
            message!("the stack in {dir} has no service 'gateway'", dir),
            Message::command(format!("cd {dir} && {compose} config --services")),
        ),
        Some(Ok(_)) if command.generation == Generation::V1 && engine.is_some_and(|engine| engine >= 25) => {
            Judgement::warn(
                message!("{compose} {version} can't replace containers on Docker Engine 25 or later", compose, version),
                second_generation(inputs),
            )
        }
        Some(Ok(resolved)) => Judgement::pass(counted!(
            "{compose} {version}; {count} service" | "{compose} {version}; {count} services",
            count = resolved.services.len(),
            compose,
            version
        )),
    }
}

/// Whether compose v1 can mount files of a directory: it splits mounts at colons, and mangles what isn't ASCII.
fn is_plain(dir: &str) -> bool {
    dir.is_ascii() && !dir.contains(':')
}

/// How to get compose's second generation beside this Docker. Debian marks its own builds, Ubuntu doesn't.
fn second_generation(inputs: &Inputs) -> Message {
    let dockers = apt_install(inputs, "docker-compose-plugin");
    let package = inputs.distro.map_or("docker-compose", |distro| &distro.packages.compose);
    let releases = Message::command(apt_install(inputs, package));
    match &inputs.facts.docker.daemon {
        Ok(version) if version.contains("dfsg") => releases,
        _ if package == "docker-compose" => Message::command(dockers),
        _ => {
            let other = message!("or, with Docker's own packages: {command}", command = dockers);
            Message::joined(vec![releases, other], "\n")
        }
    }
}

fn mount_fresh(inputs: &Inputs) -> Judgement {
    let Some(gateway) = &inputs.facts.stack.gateway else { return Judgement::pass(message!("no gateway runs")) };
    if gateway.stale.is_empty() {
        return Judgement::pass(message!("the running gateway sees the current files"));
    }
    let (dir, compose) = (inputs.settings.dir.display(), inputs.facts.stack.compose_command_line());
    Judgement::warn(
        message!("the running gateway sees an old copy of {files}", files = gateway.stale.join(", ")),
        Message::command(format!("cd {dir} && {compose} up -d --no-deps --force-recreate {}", PRODUCT.gateway.name)),
    )
}

fn gateway_address(inputs: &Inputs) -> Judgement {
    let resolved = inputs.facts.stack.config.as_ref().and_then(|config| config.as_ref().ok());
    let address = resolved.and_then(|config| config.gateway.as_ref()?.address.clone());
    let values = &inputs.facts.instance.env.values;
    let (Some(address), Some(set)) = (address, values.get(PRODUCT.env.vpn_address)) else {
        return Judgement::pass(message!("not set up yet"));
    };
    let prefix = values.get(PRODUCT.env.vpn_prefix).map_or(PRODUCT.prefix.to_string(), String::clone);
    let set = format!("{set}/{prefix}");
    if address == set {
        return Judgement::pass(message!("{address}, as .env says", address));
    }
    let (dir, compose) = (inputs.settings.dir.display(), inputs.facts.stack.compose_command_line());
    Judgement::fail(
        message!("compose gives the gateway {address}, .env says {set}", address, set),
        Message::command(format!("cd {dir} && {compose} config | grep {}", PRODUCT.address_variable)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::GatewayContainer;
    use crate::facts::{Facts, Part, Unread};
    use crate::message::Message;
    use crate::preflight::{Finding, Severity};
    use crate::settings::Settings;

    fn find(id: &str, facts: &Facts, settings: &Settings) -> Finding {
        let unknown = Message::fixed("not asked");
        let inputs = Inputs { facts, distro: Err(&unknown), settings };
        crate::preflight::run(&inputs).into_iter().find(|finding| finding.id == id).unwrap()
    }

    fn judged(id: &str, change: impl FnOnce(&mut Facts)) -> (Severity, String) {
        let mut facts = Facts::healthy();
        change(&mut facts);
        let finding = find(id, &facts, &Settings::default());
        (finding.outcome, format!("{} → {}", finding.detail, finding.way_out()))
    }

    fn assert_words((seen, words): (Severity, String), severity: Severity, expected: &str) {
        assert!(seen == severity && words.contains(expected), "{seen:?}: {words}");
    }

    #[test]
    fn a_healthy_host_is_silent() {
        for id in ["compose", "mount-fresh", "gateway-address"] {
            assert_eq!(judged(id, |_| {}).0, Severity::Pass, "{id}");
        }
    }

    #[test]
    fn compose_fires_when_it_is_missing_or_unable() {
        assert_words(judged("compose", |f| f.stack.commands.clear()), Severity::Fail, "apt-get install docker-compose");
        let broken = |f: &mut Facts| f.stack.config = Some(Err(Message::foreign("yaml: line 3")));
        assert_words(
            judged("compose", broken),
            Severity::Fail,
            "yaml: line 3 → cd /srv/mitigator && docker compose config",
        );
        let no_gateway = |f: &mut Facts| {
            if let Some(Ok(config)) = &mut f.stack.config {
                config.gateway = None;
            }
        };
        assert_words(judged("compose", no_gateway), Severity::Fail, "no service 'gateway'");
        assert_words(judged("compose", |f| f.stack.config = None), Severity::Fail, "--stack default");
        let old_on_new = |f: &mut Facts| {
            f.stack.commands[0].generation = Generation::V1;
            f.docker.daemon = Ok("26.1.5".into());
        };
        assert_words(judged("compose", old_on_new), Severity::Warn, "Docker Engine 25");
    }

    #[test]
    fn a_stack_that_docker_says_nothing_of_is_unknown() {
        let silent = |f: &mut Facts| {
            f.stack.gateway = None;
            f.unread.push(Unread { part: Part::Stack, reason: Message::foreign("Docker: status 500") });
        };
        assert_words(judged("mount-fresh", silent), Severity::Unknown, "status 500");
    }

    #[test]
    fn a_stale_mount_is_named_with_the_one_thing_that_helps() {
        let stale = |f: &mut Facts| {
            f.stack.gateway = Some(GatewayContainer {
                stale: vec!["/srv/mitigator/vpn-public.conf".into()],
                ..GatewayContainer::default()
            });
        };
        assert_words(judged("mount-fresh", stale), Severity::Warn, "--force-recreate gateway");
    }

    #[test]
    fn an_address_that_something_overrides_fires() {
        let set = |address: &str| {
            let address = address.to_owned();
            move |f: &mut Facts| {
                f.instance.env.values.insert("MITIGATOR_VPN_ADDRESS".into(), "10.8.3.2".into());
                if let Some(Ok(config)) = &mut f.stack.config {
                    config.gateway.as_mut().unwrap().address = Some(address);
                }
            }
        };
        assert_eq!(judged("gateway-address", set("10.8.3.2/24")).0, Severity::Pass);
        assert_words(judged("gateway-address", set("10.8.3.1/24")), Severity::Fail, "gives the gateway 10.8.3.1/24");
    }
}
