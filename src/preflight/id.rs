//! The ids of the checks. They are a promise: scripts name them in `--ignore` and find findings by them.

pub(crate) const SUPPORTED_RELEASE: &str = "supported-release";
pub(crate) const ROOT: &str = "root";
pub(crate) const HOST_READABLE: &str = "host-readable";
pub(crate) const JOURNAL: &str = "journal";
pub(crate) const DISK_SPACE: &str = "disk-space";
pub(crate) const MEMORY: &str = "memory";
pub(crate) const VIRTUALIZATION: &str = "virtualization";
pub(crate) const REBOOT_REQUIRED: &str = "reboot-required";
pub(crate) const CLOCK: &str = "clock";

pub(crate) const KERNEL_WIREGUARD: &str = "kernel-wireguard";
pub(crate) const KERNEL_NEXT: &str = "kernel-next";
pub(crate) const SECURE_BOOT: &str = "secure-boot";

pub(crate) const DPKG_LOCK: &str = "dpkg-lock";
pub(crate) const DPKG_HEALTHY: &str = "dpkg-healthy";
pub(crate) const APT_SOURCES: &str = "apt-sources";

pub(crate) const DOCKER: &str = "docker";
pub(crate) const DOCKER_NOT_SNAP: &str = "docker-not-snap";

pub(crate) const COMPOSE: &str = "compose";
pub(crate) const MOUNT_FRESH: &str = "mount-fresh";
pub(crate) const GATEWAY_ADDRESS: &str = "gateway-address";

pub(crate) const INSTANCE_WRITABLE: &str = "instance-writable";
pub(crate) const INTERRUPTED_WRITE: &str = "interrupted-write";
pub(crate) const CONF_IS_FILE: &str = "conf-is-file";
pub(crate) const ENV_FILE: &str = "env-file";
pub(crate) const COMPOSE_FILES: &str = "compose-files";
pub(crate) const VPN_ADDRESS: &str = "vpn-address";
pub(crate) const ADDRESS_UNIQUE: &str = "address-unique";
pub(crate) const KEY_PAIR: &str = "key-pair";
pub(crate) const SAMPLE_KEY: &str = "sample-key";

pub(crate) const SUBNET_FREE: &str = "subnet-free";
pub(crate) const ENDPOINT: &str = "endpoint";
pub(crate) const PORT_EXPOSED: &str = "port-exposed";
pub(crate) const UDP_PORT_FREE: &str = "udp-port-free";
pub(crate) const FIREWALL: &str = "firewall";
