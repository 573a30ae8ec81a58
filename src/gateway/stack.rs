//! `--stack default`: the docker-compose.yml of a host that has no vendor's stack.

use crate::product::PRODUCT;

/// How the file begins. It tells the file from the vendor's.
pub const FIRST_LINE: &str = "# The default gateway of mitigator-vpn (install --stack default).";

/// The docker-compose.yml with this image. The VPN comes with docker-compose.vpn.yml. A userspace
/// implementation needs the host's tun device.
///
/// The container may configure the network and nothing else: the lock, the note of what was applied and wireguard-go's
/// socket are all in /run.
pub fn compose_file(image: &str, userspace: bool) -> String {
    let (service, mtu) = (PRODUCT.gateway.name, PRODUCT.env.vpn_mtu);
    let device = if userspace { "    devices:\n    - /dev/net/tun\n" } else { "" };
    format!(
        "{FIRST_LINE}\n\
         version: \"2.2\"\n\
         services:\n\
         \x20 {service}:\n\
         \x20   image: {image}\n\
         \x20   network_mode: host\n\
         \x20   environment:\n\
         \x20     GATEWAY_MTU: \"${{{mtu}:-1420}}\"\n\
         \x20   cap_drop:\n\
         \x20   - ALL\n\
         \x20   cap_add:\n\
         \x20   - NET_ADMIN\n\
         \x20   security_opt:\n\
         \x20   - no-new-privileges:true\n\
         \x20   read_only: true\n\
         \x20   tmpfs:\n\
         \x20   - /run:size=16m,mode=755\n\
         {device}\
         \x20   restart: unless-stopped\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tunnel_device_is_there_only_where_it_is_needed() {
        assert_eq!(
            compose_file("image:1", true),
            "# The default gateway of mitigator-vpn (install --stack default).\nversion: \"2.2\"\nservices:\n  gateway:\n    \
             image: image:1\n    network_mode: host\n    \
             environment:\n      GATEWAY_MTU: \"${MITIGATOR_VPN_MTU:-1420}\"\n    cap_drop:\n    - ALL\n    cap_add:\n    - NET_ADMIN\n    \
             security_opt:\n    - no-new-privileges:true\n    read_only: true\n    tmpfs:\n    - /run:size=16m,mode=755\n    \
             devices:\n    - /dev/net/tun\n    \
             restart: unless-stopped\n"
        );
        assert!(!compose_file("image:1", false).contains("devices"));
    }
}
