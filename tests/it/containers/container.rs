//! The whole job on hosts with systemd, apt and Docker: installed, proven, installed again, taken back.

use crate::support::Host;
use crate::support::call::Ran;
use crate::support::container::{ContainerHost, NO_MODULES_HERE};
use crate::support::machine::Machine;
use crate::support::snapshot::PACKAGES_CAME_AND_WENT;

const DIR: &str = "/srv/mitigator";
const PUBLIC: &str = "/srv/mitigator/vpn-public.conf";
const ENV: &str = "/srv/mitigator/.env";
const STRANGER: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// `docker-compose` in the instance's directory.
fn compose(host: &ContainerHost, words: &str) -> Ran {
    host.shell(&format!("cd {DIR} && if command -v docker-compose >/dev/null; then docker-compose {words}; else docker compose {words}; fi"))
        .run()
}

/// A file as the gateway sees it, through its own mounts.
fn seen_by_gateway(host: &ContainerHost, path: &str) -> String {
    let script = "cat /proc/$(docker ps -q --filter label=com.docker.compose.service=gateway | xargs docker inspect -f '{{.State.Pid}}')/root$0";
    host.shell(script).arg(path).run().exits(0).out().into_owned()
}

fn finding(preflight: &Ran, id: &str) -> serde_json::Value {
    let document = preflight.json();
    let findings = document["findings"].as_array().expect("a list").clone();
    findings.into_iter().find(|finding| finding["id"] == id).unwrap_or_else(|| panic!("no finding {id}\n{preflight}"))
}

fn the_gateway_may_configure_the_network_and_nothing_else(host: &ContainerHost) {
    let id = "$(docker ps -q --filter label=com.docker.compose.service=gateway)";
    let pid = format!("$(docker inspect -f '{{{{.State.Pid}}}}' {id})");
    let status = host.shell(&format!("cat /proc/{pid}/status")).run().exits(0);
    for line in
        ["CapPrm:\t0000000000001000", "CapEff:\t0000000000001000", "CapBnd:\t0000000000001000", "NoNewPrivs:\t1"]
    {
        assert!(status.out().contains(line), "{line} (1000 is CAP_NET_ADMIN)\n{status}");
    }
    let mounts = host.shell(&format!("cat /proc/{pid}/mounts")).run().exits(0).out().into_owned();
    let options = |at: &str| {
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        fields.filter(|fields| fields[1] == at).map(|fields| fields[3].to_owned()).next_back().expect(at)
    };
    assert!(options("/").starts_with("ro,"), "{mounts}");
    assert!(options("/run").contains("noexec"), "{mounts}");
}

#[test]
fn an_install_can_be_repeated_without_a_trace_and_taken_back_without_one() {
    let Some(host) = ContainerHost::up("undo") else { return };
    host.write(ENV, "# ours\nTOKEN=x\n");
    // Undo may not take away what was there before.
    host.shell("apt-get update -q && apt-get install -qy --no-install-recommends wireguard-tools").run().exits(0);
    let (packages, docker, before) = (host.packages(), host.docker_things(), host.snapshot());

    let ran = host.install(1).arg("--json").run().exits(0);
    assert_eq!(ran.json()["outcome"], "pass", "{ran}");
    assert!(host.packages().contains("wireguard-go="), "the default stack needs it on this kernel");
    host.status().exits(0);
    the_gateway_may_configure_the_network_and_nothing_else(&host);

    let (installed, running) = (host.snapshot(), host.gateway());
    for again in [host.install(1).arg("--json").run(), host.vpn(&format!("install --json {NO_MODULES_HERE}")).run()] {
        assert_eq!(again.exits(0).json()["steps"], serde_json::json!([]));
    }
    installed.is_untouched_in(&host.snapshot());
    assert_eq!(host.gateway(), running, "the gateway was not disturbed");

    host.vpn("undo --yes").run().exits(0);
    assert_eq!(host.packages(), packages);
    assert_eq!(host.docker_things(), docker);
    before.without(PACKAGES_CAME_AND_WENT).is_given_back_in(&host.snapshot().without(PACKAGES_CAME_AND_WENT));
}

#[test]
fn three_hosts_join_one_after_the_other_and_reach_each_other_also_after_a_power_cut() {
    let Some(hosts) = ContainerHost::cluster::<3>("mesh") else { return };
    let [first, second, third] = &hosts;
    first.install(1).run().exits(0);
    for (n, newcomer) in [(2, second), (3, third)] {
        newcomer.write("/root/peers.conf", first.text(PUBLIC));
        newcomer.install(n).arg("--peers=/root/peers.conf").run().exits(0).says("other members");
        let list = newcomer.text(PUBLIC);
        for (m, member) in [(1, first), (2, second)].into_iter().filter(|(m, _)| *m < n) {
            let running = member.gateway();
            member.write("/root/peers.conf", &list);
            // The last to be told completes the picture for everybody.
            member.install(m).arg("--peers=/root/peers.conf").run().exits_with_one_of(&[0, 5]);
            assert_eq!(member.gateway(), running, "a new member restarts nobody");
        }
    }
    assert_all_reached(&hosts);
    let digests = hosts.each_ref().map(|host| host.status().json()["instance"]["list_digest"].clone());
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[1], digests[2]);

    second.kill();
    second.boot();
    second.wait_until("its gateway runs again", || !second.gateway().is_empty());
    assert_all_reached(&hosts);
}

fn assert_all_reached(hosts: &[ContainerHost; 3]) {
    for (n, host) in (1..).zip(hosts) {
        host.wait_until("it reaches all the others", || host.status().code == Some(0));
        let document = host.status().exits(0).json();
        let members = document["instance"]["members"].as_array().expect("a list").clone();
        assert_eq!(members.len(), 2, "{document:#}");
        assert!(
            members.iter().all(|member| member["reached"] == true && member["handshake_age"].is_u64()),
            "{document:#}"
        );
        for other in (1..=3).filter(|other| *other != n) {
            host.call(&format!("ping -q -c 2 -i 0.2 -W 5 10.8.3.{other}")).run().exits(0);
        }
    }
}

#[test]
fn a_changed_list_reaches_a_running_gateway_in_every_generation_of_compose_and_a_replaced_file_is_told() {
    let Some(host) = ContainerHost::up("stale") else { return };
    // Packages that are there already: each of the three installs takes seconds less.
    host.shell("apt-get install -qy --no-install-recommends wireguard-tools wireguard-go").run().exits(0);
    for (n, version) in (1..).zip(["v1", "v2", "v2-plugin"]) {
        host.use_compose(version);
        host.install(1).run().exits(0);
        let (running, inode) = (host.gateway(), inode(&host));

        // FN-40: the container holds the file by its inode.
        let add =
            format!("peers add --public-key {STRANGER} --vpn-address 10.8.3.{} --endpoint 192.0.2.9:4567", 100 + n);
        host.vpn(&add).run().exits(0);
        assert_eq!(self::inode(&host), inode, "{version}: written in place");
        let list = host.text(PUBLIC);
        assert!(list.contains(STRANGER), "{list}");
        assert_eq!(seen_by_gateway(&host, "/srv/public.conf"), list, "{version}");
        compose(&host, "exec -T gateway reconfigure").exits(0);
        let live = compose(&host, "exec -T gateway mitigator-vpn gateway status --json").exits(0);
        assert!(live.out().contains(STRANGER), "{version}: {live}");
        assert_eq!(host.gateway(), running, "{version}: without a restart");

        host.vpn(&format!("peers remove {STRANGER}")).run().exits(0);
        assert_eq!(self::inode(&host), inode, "{version}: written in place");
        compose(&host, "exec -T gateway reconfigure").exits(0);

        // Replaced behind its back, as `sed -i` and most editors do.
        let mark = format!("# edited under {version}");
        host.shell(&format!("sed -i '1i {mark}' {PUBLIC}")).run().exits(0);
        assert!(!seen_by_gateway(&host, "/srv/public.conf").contains(&mark), "{version}: it sees the old file");
        let preflight = host.vpn(&format!("preflight --json {NO_MODULES_HERE}")).run();
        let stale = finding(&preflight, "mount-fresh");
        assert_ne!(stale["outcome"], "pass", "{version}: {preflight}");
        assert!(stale["hint"].as_str().is_some_and(|hint| hint.contains("gateway")), "{version}: {stale}");
        host.status().exits(5).says("vpn-public.conf");
        // The gateway itself refuses as well: what it sees is not what anybody means.
        assert_ne!(compose(&host, "exec -T gateway reconfigure").code, Some(0), "{version}");

        host.vpn(&format!("install --yes {NO_MODULES_HERE}")).run().exits(0);
        assert!(seen_by_gateway(&host, "/srv/public.conf").contains(&mark), "{version}: a new container sees it");
        host.status().exits(0);
        host.vpn("undo --yes").run().exits(0);
    }
}

fn inode(host: &ContainerHost) -> String {
    host.call("stat -c %i").arg(PUBLIC).run().exits(0).out().into_owned()
}

/// The image of the project's own gateway under the vendor's name, and no other trace of it.
fn bring_vendor_image(hosts: &[ContainerHost; 2]) {
    let [made, brought] = hosts;
    made.install(1).run().exits(0);
    made.shell("docker tag $(docker image ls -q mitigator-vpn-gateway) vendor/gateway:21").run().exits(0);
    let image = made.call("docker save vendor/gateway:21").run().exits(0).stdout;
    brought.call("docker load").stdin(image).run().exits(0);
    made.vpn("undo --yes").run().exits(0);
}

#[test]
fn a_vendors_stack_is_never_changed_whichever_way_it_opens_the_port() {
    let Some(hosts) = ContainerHost::cluster::<2>("vendor") else { return };
    let [published, on_the_host] = &hosts;
    let service = "    image: vendor/gateway:21\n    cap_add: [NET_ADMIN]\n    devices: [/dev/net/tun]\n    restart: unless-stopped\n";
    let volume = "    volumes: [data:/data]\nvolumes:\n  data: {}\n";
    let stack =
        |exposed: &str| format!("# the vendor's\nversion: \"2.2\"\nservices:\n  gateway:\n{service}{exposed}{volume}");
    let stacks = [stack("    ports: [\"4567:4567/udp\"]\n"), stack("    network_mode: host\n")];
    bring_vendor_image(&hosts);
    for (host, stack) in hosts.iter().zip(&stacks) {
        host.write(&format!("{DIR}/docker-compose.yml"), stack);
        host.write(
            &format!("{DIR}/docker-compose.override.yml"),
            "version: \"2.2\"\nservices:\n  gateway:\n    labels:\n      site: ours\n",
        );
    }
    let before = hosts.each_ref().map(|host| host.snapshot().below(DIR));
    // One has run before the VPN, and has data by now (FN-5).
    compose(published, "up -d").exits(0);
    let data = "$(docker volume inspect -f '{{.Mountpoint}}' mitigator_data)/precious";
    published.shell(&format!("echo kept >{data}")).run().exits(0);

    let install = |host: &ContainerHost, n: u8, peers: &str| {
        let instance = format!("--vpn-address 10.8.3.{n} --endpoint {}", host.address());
        host.vpn(&format!("install {instance} {peers} --yes {NO_MODULES_HERE}")).run().exits(0)
    };
    install(published, 1, "");
    on_the_host.write("/root/peers.conf", published.text(PUBLIC));
    install(on_the_host, 2, "--peers /root/peers.conf");
    published.write("/root/peers.conf", on_the_host.text(PUBLIC));
    install(published, 1, "--peers /root/peers.conf");

    for host in &hosts {
        host.wait_until("it reaches the other", || host.status().code == Some(0));
        let label = "docker ps -q --filter label=site=ours --filter label=com.docker.compose.service=gateway";
        assert!(!host.call(label).run().exits(0).stdout.is_empty(), "the override is not in use any more");
    }
    let file = format!("{DIR}/docker-compose.yml");
    for (host, before) in hosts.iter().zip(&before) {
        before.clone().below(&file).is_untouched_in(&host.snapshot().below(&file));
        host.vpn("undo --yes").run().exits(0);
        before.is_given_back_in(&host.snapshot().below(DIR));
    }
    let running = hosts.each_ref().map(|host| !host.call("docker ps -q").run().exits(0).stdout.is_empty());
    assert_eq!(running, [true, false], "what ran before runs again, without the VPN");
    published
        .shell("docker inspect -f '{{.Config.Env}}' $(docker ps -q)")
        .run()
        .exits(0)
        .does_not_say("GATEWAY_ADDRESS");
    published.shell(&format!("cat {data}")).run().exits(0).says("kept");
}

#[test]
fn an_operators_exported_variables_have_no_effect() {
    let Some(host) = ContainerHost::up("shell") else { return };
    let exported = |call: crate::support::call::Call<'_>| {
        call.env("COMPOSE_FILE", "/nowhere.yml")
            .env("COMPOSE_PROJECT_NAME", "another")
            .env("MITIGATOR_VPN_ADDRESS", "10.8.3.99")
            .env("MITIGATOR_VPN_PREFIX_", "8")
            .env("DOCKER_HOST", "tcp://192.0.2.1:1")
            .run()
    };
    exported(host.install(7)).exits(0);
    let address =
        "docker ps -q --filter label=com.docker.compose.service=gateway | xargs docker inspect -f '{{.Config.Env}}'";
    host.shell(address).run().exits(0).says("GATEWAY_ADDRESS=10.8.3.7/24");
    exported(host.vpn(&format!("status --json {NO_MODULES_HERE}"))).exits(0);
    exported(host.vpn(&format!("plan --json {NO_MODULES_HERE}"))).exits(0).says("\"steps\": []");
    exported(host.vpn("undo --yes")).exits(0);
}

/// `.env` in dialects, of which each generation has its own (FN-34): what matters is what both make of it.
#[test]
fn both_generations_of_compose_read_what_was_written_into_an_env() {
    let Some(host) = ContainerHost::up("env") else { return };
    host.use_compose("v2");
    host.install(5).run().exits(0);
    for (what, env) in [
        ("none", ""),
        ("no last line end", "A=1"),
        ("CRLF", "A=1\r\nMITIGATOR_VPN_ADDRESS=10.8.3.9\r\nB=2\r\n"),
        ("a byte order mark", "\u{feff}MITIGATOR_VPN_ADDRESS=10.8.3.9\n"),
        ("quotes, export and a comment", "export MITIGATOR_VPN_ADDRESS=\"10.8.3.9\" # was 8\n"),
        ("single quotes", "MITIGATOR_VPN_ADDRESS='10.8.3.9'\n"),
        ("duplicates", "MITIGATOR_VPN_ADDRESS=10.8.3.8\nA=1\nMITIGATOR_VPN_ADDRESS=10.8.3.9\n"),
        ("an empty one", "MITIGATOR_VPN_ADDRESS=\n"),
        ("dollars and hashes elsewhere", "A=a$$b#c\nB='x # y'\nC=\"p\\\"q\"\n"),
        ("a list of files", "COMPOSE_FILE=docker-compose.yml\n"),
        ("another separator", "COMPOSE_PATH_SEPARATOR=;\nCOMPOSE_FILE=docker-compose.yml\n"),
    ] {
        host.write(ENV, env);
        let install = format!(
            "install --vpn-address 10.8.3.5 --endpoint {} --restart none --yes {NO_MODULES_HERE}",
            host.address()
        );
        host.vpn(&install).run().exits(0);
        for compose in ["/usr/bin/docker-compose", "docker compose"] {
            let resolved = host.shell(&format!("cd {DIR} && env -i PATH=$PATH {compose} config")).run().exits(0);
            assert!(resolved.out().contains("10.8.3.5/24"), "{what}: {resolved}");
            assert!(resolved.out().contains("/srv/public.conf"), "{what}: the overlay is in use: {resolved}");
        }
    }
}

#[test]
fn an_install_that_cannot_work_is_refused_before_anything_changes() {
    let Some(host) = ContainerHost::up("refused") else { return };
    let before = host.snapshot();
    let packages = host.packages();

    let preflight = host.vpn(&format!("preflight --json {NO_MODULES_HERE}")).run().exits(3);
    assert_eq!(finding(&preflight, "compose")["outcome"], "fail", "no stack of the vendor's here: {preflight}");

    host.call("systemctl stop docker.socket docker.service").run().exits(0);
    let stopped = host.install(1).run().exits(3).says("docker");
    assert!(
        stopped.out().contains("systemctl start docker") || stopped.err().contains("systemctl start docker"),
        "{stopped}"
    );
    host.call("systemctl start docker.service").run().exits(0);

    host.cut_off();
    host.install(1).run().exits(3).says("is not an address of this host");
    host.reconnect();

    // The mirror doesn't answer, which only apt finds out.
    let dead_end = "/etc/apt/apt.conf.d/99dead-end";
    host.write(dead_end, "Acquire::http::Proxy \"http://127.0.0.1:9\";\n");
    host.install(1).run().exits(6).says("apt-get install");
    host.call("rm").arg(dead_end).run().exits(0);
    host.vpn("undo --yes").run().exits(0);
    assert_eq!(host.packages(), packages);
    let excluded = [PACKAGES_CAME_AND_WENT, &[("/etc/hosts", "Docker's own, made anew with the network")]].concat();
    before.without(&excluded).is_given_back_in(&host.snapshot().without(&excluded));

    // The same host, the same command: nothing of the refusals has stuck.
    host.install(1).run().exits(0);
}
