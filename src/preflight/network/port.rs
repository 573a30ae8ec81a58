//! Who holds the VPN's UDP ports, and do packets to them get to the gateway?

use crate::facts::UdpListener;
use crate::policy::Exposure;
use crate::preflight::{Inputs, Judgement};
use crate::product::PRODUCT;

/// Programs that hold the port for the gateway: WireGuard in user space, this program, Docker's for a published port.
const GATEWAYS: &[&str] = &["wireguard-go", "boringtun-cli", "mitigator-vpn", "docker-proxy"];

pub fn udp_port_free(inputs: &Inputs) -> Judgement {
    let facts = inputs.facts;
    let mut ports = vec![inputs.settings.port];
    if has_dataplane(inputs) {
        ports.push(PRODUCT.dataplane.port);
    }
    let holders: Vec<&UdpListener> = facts.net.udp.iter().filter(|listener| ports.contains(&listener.port)).collect();
    if !holders.is_empty() && !facts.machine.is_root {
        return Judgement::unknown("somebody holds it; who it is, only root can see");
    }
    let strangers = holders.iter().filter(|holder| !is_ours(inputs, holder)).map(|holder| stranger(holder)).collect();
    let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" and ");
    Judgement::of_all(strangers, format!("UDP {ports}: {}", if holders.is_empty() { "free" } else { "the gateway's" }))
}

fn has_dataplane(inputs: &Inputs) -> bool {
    matches!(&inputs.facts.stack.config, Some(Ok(resolved)) if resolved.dataplane)
}

/// A kernel socket or one of the known programs, while a gateway runs; or the gateway's own process.
fn is_ours(inputs: &Inputs, holder: &UdpListener) -> bool {
    let Some(gateway) = &inputs.facts.stack.gateway else { return false };
    let Some(process) = &holder.process else { return true };
    GATEWAYS.contains(&name(process)) || process.ends_with(&format!("(pid {})", gateway.pid))
}

fn name(process: &str) -> &str {
    process.rsplit_once(" (pid").map_or(process, |(name, _)| name)
}

fn stranger(holder: &UdpListener) -> Judgement {
    let UdpListener { address, port, process } = holder;
    let (who, hint) = match process.as_deref() {
        None => {
            ("a WireGuard interface that isn't the gateway's".to_owned(), "ip -d link show type wireguard".to_owned())
        }
        Some(process) if name(process) == "docker-proxy" => (
            format!("a container other than the gateway, by {process}"),
            format!("docker ps --filter publish={port}/udp"),
        ),
        Some(process) => (process.to_owned(), format!("ss -lunp 'sport = :{port}'")),
    };
    Judgement::fail(format!("{who} holds UDP {port} on {address}"), hint)
}

pub fn port_exposed(inputs: &Inputs) -> Judgement {
    let port = inputs.settings.port;
    match Exposure::of(inputs.facts, inputs.settings) {
        Exposure::Published => Judgement::pass(format!("Docker publishes UDP {port}")),
        Exposure::Host => Judgement::pass("the gateway lives in the host's own network"),
        Exposure::Unknown => Judgement::unknown("compose resolves no service gateway here"),
        Exposure::Nowhere => Judgement::warn(
            format!("the gateway neither publishes UDP {port} nor lives in the host's own network"),
            format!("cd {} && {} config", inputs.settings.dir.display(), inputs.facts.stack.compose_command_line()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use crate::compose::{GatewayContainer, ResolvedConfig};
    use crate::facts::{Facts, UdpListener};
    use crate::preflight::Severity::{Fail, Pass, Unknown, Warn};
    use crate::preflight::tests::outcome;

    fn held(port: u16, process: Option<&str>) -> Facts {
        let mut facts = Facts::healthy();
        let process = process.map(str::to_owned);
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
        let (severity, text) = outcome("udp-port-free", &held(4567, Some("mariadbd (pid 812)")));
        assert_eq!(severity, Fail);
        assert_eq!(text, "mariadbd (pid 812) holds UDP 4567 on 0.0.0.0 [ss -lunp 'sport = :4567']");
        assert_eq!(outcome("udp-port-free", &with_gateway(held(4567, Some("garbd (pid 9)")))).0, Fail);
        assert_eq!(outcome("udp-port-free", &held(53, Some("named (pid 9)"))).0, Pass);
    }

    #[test]
    fn the_gateways_socket_is_ours_only_while_the_gateway_runs() {
        let ours = [None, Some("wireguard-go (pid 7)"), Some("mitigator-vpn (pid 7)"), Some("docker-proxy (pid 7)")];
        for process in ours {
            assert_eq!(outcome("udp-port-free", &with_gateway(held(4567, process))).0, Pass, "{process:?}");
            assert_eq!(outcome("udp-port-free", &held(4567, process)).0, Fail, "{process:?}");
        }
        assert_eq!(outcome("udp-port-free", &with_gateway(held(4567, Some("vendor-gw (pid 4242)")))).0, Pass);
        assert!(outcome("udp-port-free", &held(4567, None)).1.contains("ip -d link show type wireguard"));
    }

    #[test]
    fn the_data_planes_port_counts_where_there_is_one() {
        let mut facts = held(4568, Some("mariadbd (pid 812)"));
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
