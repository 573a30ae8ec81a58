//! What the vendor's product promises: names of its files, services, ports and variables, as data.
//!
//! The source is the vendor's documentation, v21.04 to v26.06. The names are the same in all of these versions; since
//! v23.12 there is a second service in the VPN. This module imports nothing of the crate, so that every other may use it.

mod layout;

pub(crate) use layout::InstanceLayout;

/// The contract of the product's versions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    /// Where an instance is installed.
    pub directory: &'static str,
    /// The files in that directory.
    pub files: FileNames,
    /// The keys of `.env`.
    pub env: EnvKeys,
    /// The service that owns the VPN.
    pub gateway: VpnService,
    /// The service that gives the data plane a tunnel of its own, since v23.12.
    pub dataplane: VpnService,
    /// Where these services see the two lists.
    pub mounts: MountTargets,
    /// The variable in their environment that holds the VPN address and its prefix.
    pub address_variable: &'static str,
    /// The prefix length of the VPN's network where `.env` names none.
    pub prefix: u8,
    /// The compose file that gives the gateway its VPN, byte for byte as the vendor documents it.
    pub overlay: &'static str,
}

/// Names of files in an instance's directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileNames {
    /// The private key and the port.
    pub private_conf: &'static str,
    /// The peer list, the same bytes on every instance.
    pub public_conf: &'static str,
    /// What has become of members, beside the list. It is this program's own; the vendor has no such file.
    pub history: &'static str,
    /// The stack's own compose file.
    pub base: &'static str,
    /// The compose file with the VPN's part.
    pub overlay: &'static str,
    /// The variables of all compose files.
    pub env: &'static str,
}

/// Keys of `.env`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EnvKeys {
    /// The compose files to merge.
    pub compose_file: &'static str,
    /// What stands between two of them, in place of a colon.
    pub compose_separator: &'static str,
    /// The name of the compose project.
    pub compose_project: &'static str,
    /// This instance's address in the VPN.
    pub vpn_address: &'static str,
    /// The prefix length of the VPN's network.
    pub vpn_prefix: &'static str,
    /// The MTU of the tunnel.
    pub vpn_mtu: &'static str,
    /// What the keys of the VPN begin with.
    pub vpn: &'static str,
}

impl EnvKeys {
    /// Whether this program may read and change the key. Values of other keys may be secrets.
    pub(crate) fn is_ours(&self, key: &str) -> bool {
        [self.compose_file, self.compose_separator, self.compose_project].contains(&key) || key.starts_with(self.vpn)
    }
}

/// A compose service that is a WireGuard peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VpnService {
    /// Its name in the compose files.
    pub name: &'static str,
    /// The UDP port it listens on by default.
    pub port: u16,
}

/// Paths inside a container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MountTargets {
    /// vpn-private.conf.
    pub private_conf: &'static str,
    /// vpn-public.conf.
    pub public_conf: &'static str,
}

/// The versions known so far.
pub(crate) const PRODUCT: Product = Product {
    directory: "/srv/mitigator",
    files: FileNames {
        private_conf: "vpn-private.conf",
        public_conf: "vpn-public.conf",
        history: "vpn-history.json",
        base: "docker-compose.yml",
        overlay: "docker-compose.vpn.yml",
        env: ".env",
    },
    env: EnvKeys {
        compose_file: "COMPOSE_FILE",
        compose_separator: "COMPOSE_PATH_SEPARATOR",
        compose_project: "COMPOSE_PROJECT_NAME",
        vpn_address: "MITIGATOR_VPN_ADDRESS",
        vpn_prefix: "MITIGATOR_VPN_PREFIX",
        vpn_mtu: "MITIGATOR_VPN_MTU",
        vpn: "MITIGATOR_VPN_",
    },
    gateway: VpnService { name: "gateway", port: 4567 },
    dataplane: VpnService { name: "gateway-dataplane", port: 4568 },
    mounts: MountTargets { private_conf: "/srv/private.conf", public_conf: "/srv/public.conf" },
    address_variable: "GATEWAY_ADDRESS",
    prefix: 24,
    overlay: include_str!("product/docker-compose.vpn.yml"),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlay_says_what_the_contract_says() {
        let Product { files, env, gateway, mounts, .. } = PRODUCT;
        let expected = format!(
            "version: \"2.2\"\nservices:\n  {}:\n    environment:\n      {}: \"${{{}:-10.8.3.1}}/${{{}:-{}}}\"\n    \
             volumes:\n    - ./{}:{}:ro\n    - ./{}:{}:ro\n",
            gateway.name,
            PRODUCT.address_variable,
            env.vpn_address,
            env.vpn_prefix,
            PRODUCT.prefix,
            files.public_conf,
            mounts.public_conf,
            files.private_conf,
            mounts.private_conf
        );
        assert_eq!(PRODUCT.overlay, expected);
    }

    #[test]
    fn only_keys_of_compose_and_the_vpn_are_ours() {
        let ours = ["COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR", "COMPOSE_PROJECT_NAME", "MITIGATOR_VPN_MTU"];
        assert!(ours.iter().all(|key| PRODUCT.env.is_ours(key)));
        assert!(!["COMPOSE_PROFILES", "MITIGATOR_TOKEN", "PASSWORD"].iter().any(|key| PRODUCT.env.is_ours(key)));
    }
}
