//! Who holds the VPN's UDP ports, and do packets to them get to the gateway?

use crate::facts::UdpListener;
use crate::message;
use crate::message::Message;
use crate::policy::Exposure;
use crate::preflight::{Inputs, Judgement};
use crate::product::PRODUCT;

/// Programs that hold the port for the gateway: WireGuard in user space, this program, Docker's for a published port.
const GATEWAYS: &[&str] = &["wireguard-go", "boringtun-cli", "mitigator-vpn", DOCKER_PROXY];
const DOCKER_PROXY: &str = "docker-proxy";

pub(super) fn udp_port_free(inputs: &Inputs) -> Judgement {
    let facts = inputs.facts;
    let mut ports = vec![inputs.settings.port];
    if has_dataplane(inputs) {
        ports.push(PRODUCT.dataplane.port);
    }
    let holders: Vec<&UdpListener> = facts.net.udp.iter().filter(|listener| ports.contains(&listener.port)).collect();
    if !holders.is_empty() && !facts.machine.is_root {
        return Judgement::unknown(message!("a process holds it; only root can see which"));
    }
    let strangers = holders.iter().filter(|holder| !is_ours(inputs, holder)).map(|holder| stranger(holder)).collect();
    let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    Judgement::of_all(
        strangers,
        if holders.is_empty() {
            message!("UDP {ports}: free", ports)
        } else {
            message!("UDP {ports}: the gateway's", ports)
        },
    )
}

fn has_dataplane(inputs: &Inputs) -> bool {
    matches!(&inputs.facts.stack.config, Some(Ok(resolved)) if resolved.dataplane)
}

/// A kernel socket or one of the known programs, while a gateway runs; or the gateway's own process.
fn is_ours(inputs: &Inputs, holder: &UdpListener) -> bool {
    let Some(gateway) = &inputs.facts.stack.gateway else { return false };
    let Some(process) = &holder.process else { return true };
    GATEWAYS.contains(&process.name.as_str()) || process.pid == gateway.pid
}

fn stranger(holder: &UdpListener) -> Judgement {
    let (address, port) = (holder.address, holder.port);
    match &holder.process {
        None => Judgement::fail(
            message!("a WireGuard interface that isn't the gateway's holds UDP {port} on {address}", port, address),
            Message::command("ip -d link show type wireguard"),
        ),
        Some(process) if process.name == DOCKER_PROXY => Judgement::fail(
            message!(
                "a container other than the gateway holds UDP {port} on {address}, by {process}",
                port,
                address,
                process
            ),
            Message::command(format!("docker ps --filter publish={port}/udp")),
        ),
        Some(process) => Judgement::fail(
            message!("{process} holds UDP {port} on {address}", process, port, address),
            Message::command(format!("ss -lunp 'sport = :{port}'")),
        ),
    }
}

pub(super) fn port_exposed(inputs: &Inputs) -> Judgement {
    let port = inputs.settings.port;
    match Exposure::of(inputs.facts, inputs.settings) {
        Exposure::Published => Judgement::pass(message!("Docker publishes UDP {port}", port)),
        Exposure::Host => Judgement::pass(message!("the gateway uses the host's own network")),
        Exposure::Unknown => Judgement::unknown(message!("compose resolves no service gateway here")),
        Exposure::Nowhere => {
            let (dir, compose) = (inputs.settings.dir.display(), inputs.facts.stack.compose_command_line());
            Judgement::warn(
                message!("the gateway neither publishes UDP {port} nor uses the host's own network", port),
                Message::command(format!("cd {dir} && {compose} config")),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::compose::{GatewayContainer, ResolvedConfig};
    use crate::facts::{Facts, UdpListener};
    use crate::host::Process;
    use crate::preflight::Severity::{Fail, Pass, Unknown, Warn};
    use crate::preflight::tests::outcome;

    fn held(port: u16, process: Option<(&str, u32)>) -> Facts {
        let mut facts = Facts::healthy();
        let process = process.map(|(name, pid)| Process { name: name.to_owned(), pid });
        facts.net.udp.push(UdpListener { address: [0, 0, 0, 0].into(), port, process });
        facts
    }

    fn with_gateway(mut facts: Facts) -> Facts {
        facts.stack.gateway = Some(GatewayContainer { pid: 4242, ..GatewayContainer::default() });
        facts
    }

    fn resolved(facts: &mut Facts) -> &mut ResolvedConfig {
        facts.stack.config.as_mut().unwrap().as_mut().unwrap()
    }

    #[test]
    fn a_stranger_on_the_port_is_named() {
        let (severity, text) = outcome("udp-port-free", &held(4567, Some(("mariadbd", 812))));
        assert_eq!(severity, Fail);
        assert_eq!(text, "mariadbd (pid 812) holds UDP 4567 on 0.0.0.0 [ss -lunp 'sport = :4567']");
        assert_eq!(outcome("udp-port-free", &with_gateway(held(4567, Some(("garbd", 9))))).0, Fail);
        assert_eq!(outcome("udp-port-free", &held(53, Some(("named", 9)))).0, Pass);
    }

    #[test]
    fn the_gateways_socket_is_ours_only_while_the_gateway_runs() {
        let ours = [None, Some(("wireguard-go", 7)), Some(("mitigator-vpn", 7)), Some(("docker-proxy", 7))];
        for process in ours {
            assert_eq!(outcome("udp-port-free", &with_gateway(held(4567, process))).0, Pass, "{process:?}");
            assert_eq!(outcome("udp-port-free", &held(4567, process)).0, Fail, "{process:?}");
        }
        assert_eq!(outcome("udp-port-free", &with_gateway(held(4567, Some(("vendor-gw", 4242))))).0, Pass);
        assert!(outcome("udp-port-free", &held(4567, None)).1.contains("ip -d link show type wireguard"));
    }

    #[test]
    fn the_data_planes_port_counts_where_there_is_one() {
        let mut facts = held(4568, Some(("mariadbd", 812)));
        assert_eq!(outcome("udp-port-free", &facts).0, Pass);
        resolved(&mut facts).dataplane = true;
        assert_eq!(outcome("udp-port-free", &facts).0, Fail);
    }

    #[test]
    fn without_root_the_holder_cannot_be_judged() {
        let mut facts = held(4567, None);
        facts.machine.is_root = false;
        assert_eq!(outcome("udp-port-free", &facts).0, Unknown);
    }

    #[test]
    fn a_gateway_that_nothing_leads_to_warns() {
        let mut facts = Facts::healthy();
        resolved(&mut facts).gateway.as_mut().unwrap().published.clear();
        assert_eq!(outcome("port-exposed", &facts).0, Warn);
        resolved(&mut facts).gateway.as_mut().unwrap().host_network = true;
        assert_eq!(outcome("port-exposed", &facts).0, Pass);
        facts.stack.config = None;
        assert_eq!(outcome("port-exposed", &facts).0, Unknown);
    }
}
