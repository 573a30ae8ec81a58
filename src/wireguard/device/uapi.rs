//! A userspace device, through its socket: the cross-platform protocol of WireGuard's own implementations.
//!
//! wireguard-control has a backend for this, which is not used: it looks for sockets under another name than Linux has,
//! prints to stdout, starts a program where it should only read, and leaves private keys in memory.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use zeroize::{Zeroize, Zeroizing};

use super::{AllowedIp, Device, DeviceChanges, Implementation, InterfaceName, ObservedPeer};
use crate::error::Result;
use crate::host::Host;
use crate::wireguard::{PrivateKey, PublicKey};

/// Where implementations put their sockets.
const SOCKETS: &str = "/var/run/wireguard";

/// An implementation that hangs must not block this program.
const PATIENCE: Duration = Duration::from_secs(10);

/// No line of the protocol comes near this.
const LONGEST_LINE: usize = 512;

/// The devices that have a socket here, alive or not.
pub(super) fn names(host: &Host) -> Result<Vec<InterfaceName>> {
    let sockets = host.list(Path::new(SOCKETS))?;
    Ok(sockets.iter().filter_map(|file| file.strip_suffix(".sock")?.parse().ok()).collect())
}

/// The device behind a socket; `None` when nobody answers there.
pub(super) fn get(name: &InterfaceName) -> io::Result<Option<Device>> {
    let mut socket = match connect(name) {
        Ok(socket) => socket,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        Err(e) => return Err(e),
    };
    socket.write_all(b"get=1\n\n")?;
    let mut device = Device {
        name: name.clone(),
        implementation: Implementation::Userspace,
        public_key: None,
        listen_port: None,
        peers: Vec::new(),
    };
    answer(socket, |key, value| device.learn(key, value))?;
    Ok(Some(device))
}

/// Applies the changes to the device.
pub(super) fn set(name: &InterfaceName, changes: &DeviceChanges) -> io::Result<()> {
    let mut socket = connect(name)?;
    socket.write_all(request(changes).as_bytes())?;
    answer(socket, |_, _| Some(()))
}

fn connect(name: &InterfaceName) -> io::Result<UnixStream> {
    let socket = UnixStream::connect(format!("{SOCKETS}/{name}.sock"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Reads `key=value` lines up to the error number that ends an answer. The first of them may be a private key: it
/// passes through memory that is wiped and goes nowhere else.
fn answer(mut from: impl Read, mut take: impl FnMut(&str, &str) -> Option<()>) -> io::Result<()> {
    let mut chunk = Zeroizing::new([0; 4096]);
    // Never longer than its capacity: growing would leave a copy behind.
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_LINE));
    loop {
        let count = from.read(&mut chunk[..])?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        for byte in &chunk[..count] {
            if *byte != b'\n' {
                if line.len() == LONGEST_LINE {
                    return Err(ErrorKind::InvalidData.into());
                }
                line.push(*byte);
                continue;
            }
            let text = std::str::from_utf8(&line).map_err(|_| ErrorKind::InvalidData)?;
            match text.split_once('=') {
                Some(("errno", "0")) => return Ok(()),
                Some(("errno", number)) => return Err(errno(number)),
                Some((key, value)) => take(key, value).ok_or(ErrorKind::InvalidData)?,
                None => return Err(ErrorKind::InvalidData.into()),
            }
            line.zeroize();
        }
    }
}

/// The protocol's error numbers are the system's, negated.
fn errno(number: &str) -> io::Error {
    match number.parse::<i32>() {
        Ok(number) => io::Error::from_raw_os_error(number.saturating_abs()),
        Err(_) => ErrorKind::InvalidData.into(),
    }
}

impl Device {
    /// Takes in one line of an answer; `None` when it is malformed. Keys of later versions are ignored.
    fn learn(&mut self, key: &str, value: &str) -> Option<()> {
        match (key, self.peers.last_mut()) {
            ("public_key", _) => self.peers.push(ObservedPeer::new(PublicKey::from_bytes(*hex(value)?))),
            ("private_key", None) => {
                let key = hex(value)?;
                // All zeros stand for no key.
                self.public_key = (*key != [0; 32]).then(|| PrivateKey::from_bytes(*key).public());
            }
            ("listen_port", None) => self.listen_port = Some(number(value)?).filter(|port| *port != 0),
            ("preshared_key", Some(peer)) => peer.preshared = *hex(value)? != [0; 32],
            ("endpoint", Some(peer)) => peer.endpoint = Some(value.parse().ok()?),
            ("persistent_keepalive_interval", Some(peer)) => {
                peer.keepalive = Some(number(value)?).filter(|seconds| *seconds != 0);
            }
            ("allowed_ip", Some(peer)) => {
                let (address, prefix) = value.split_once('/')?;
                peer.allowed.push(AllowedIp { address: address.parse().ok()?, prefix: number(prefix)? });
            }
            ("last_handshake_time_sec", Some(peer)) => {
                let seconds = Duration::from_secs(number(value)?);
                peer.last_handshake = SystemTime::UNIX_EPOCH.checked_add(seconds).filter(|_| !seconds.is_zero());
            }
            ("rx_bytes", Some(peer)) => peer.rx_bytes = number(value)?,
            ("tx_bytes", Some(peer)) => peer.tx_bytes = number(value)?,
            _ => {}
        }
        Some(())
    }
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn hex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// The text of a set operation. Removals come first, so that an address is free before somebody else gets it.
fn request(changes: &DeviceChanges) -> Zeroizing<String> {
    let peers = changes.add.len() + changes.change.len() + changes.remove.len();
    // Room for all of it: growing would leave a copy of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(256 + peers * 320));
    text.push_str("set=1\n");
    if let Some(key) = &changes.key {
        push_key(&mut text, "private_key", key.expose_bytes());
    }
    if let Some(port) = changes.port {
        push(&mut text, "listen_port", port);
    }
    for key in &changes.remove {
        push_key(&mut text, "public_key", key.as_bytes());
        push(&mut text, "remove", true);
    }
    for change in &changes.change {
        push_key(&mut text, "public_key", change.public_key.as_bytes());
        push(&mut text, "update_only", true);
        if change.drop_preshared {
            push_key(&mut text, "preshared_key", &[0; 32]);
        }
        if let Some(endpoint) = change.endpoint {
            push(&mut text, "endpoint", endpoint);
        }
        if let Some(seconds) = change.keepalive {
            push(&mut text, "persistent_keepalive_interval", seconds);
        }
        if let Some(address) = change.address {
            push(&mut text, "replace_allowed_ips", true);
            push(&mut text, "allowed_ip", AllowedIp::from(address));
        }
    }
    for peer in &changes.add {
        push_key(&mut text, "public_key", peer.public_key.as_bytes());
        push(&mut text, "endpoint", peer.endpoint);
        push(&mut text, "persistent_keepalive_interval", peer.keepalive.unwrap_or(0));
        push(&mut text, "replace_allowed_ips", true);
        push(&mut text, "allowed_ip", AllowedIp::from(peer.address));
    }
    text.push('\n');
    text
}

fn push(text: &mut String, key: &str, value: impl std::fmt::Display) {
    writeln!(text, "{key}={value}").expect("writing to a String doesn't fail");
}

fn push_key(text: &mut String, key: &str, bytes: &[u8; 32]) {
    text.push_str(key);
    text.push('=');
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a String doesn't fail");
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wireguard::Peer;
    use crate::wireguard::device::difference::PeerChange;

    /// What wireguard-go 0.0.20220316 answered; the private key is the vendor's published sample.
    const ANSWER: &str = "\
private_key=c833e0e5da1abd81fb7dd0fcea7b7e70ecd204be339d565cadcac9c2363f5e6c
listen_port=4567
public_key=0707070707070707070707070707070707070707070707070707070707070707
preshared_key=0000000000000000000000000000000000000000000000000000000000000000
protocol_version=1
endpoint=192.0.2.7:4567
last_handshake_time_sec=0
last_handshake_time_nsec=0
tx_bytes=0
rx_bytes=0
persistent_keepalive_interval=0
allowed_ip=10.8.3.7/32
public_key=0808080808080808080808080808080808080808080808080808080808080808
preshared_key=0909090909090909090909090909090909090909090909090909090909090909
protocol_version=1
endpoint=[2001:db8::1]:4567
last_handshake_time_sec=1795361602
last_handshake_time_nsec=5
tx_bytes=148
rx_bytes=92
persistent_keepalive_interval=25
allowed_ip=10.8.3.8/32
errno=0

";

    fn read(text: &str) -> io::Result<Device> {
        let mut device = Device {
            name: "wg0".parse().unwrap(),
            implementation: Implementation::Userspace,
            public_key: None,
            listen_port: None,
            peers: Vec::new(),
        };
        answer(text.as_bytes(), |key, value| device.learn(key, value))?;
        Ok(device)
    }

    #[test]
    fn a_device_is_read_without_its_private_key() {
        let device = read(ANSWER).unwrap();
        assert_eq!(device.public_key.unwrap().to_string(), "acfzxE6ZsiYE4jIqsBicOt7oT8ZuKhxBvuz0+6JxiEc=");
        assert_eq!(device.listen_port, Some(4567));
        let [quiet, busy] = &device.peers[..] else { panic!("{device:?}") };
        assert_eq!((quiet.keepalive, quiet.preshared, quiet.last_handshake), (None, false, None));
        assert_eq!(quiet.address(), Some([10, 8, 3, 7].into()));
        assert_eq!((busy.keepalive, busy.preshared), (Some(25), true));
        assert_eq!(busy.endpoint, Some("[2001:db8::1]:4567".parse().unwrap()));
        assert_eq!((busy.rx_bytes, busy.tx_bytes), (92, 148));
        assert_eq!(busy.last_handshake, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_361_602)));
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let device = read("jitter=3\nlisten_port=7\nerrno=0\n\n").unwrap();
        assert_eq!((device.public_key, device.listen_port), (None, Some(7)));
    }

    #[test]
    fn a_broken_answer_is_an_error_and_no_panic() {
        let long = format!("endpoint={}\nerrno=0\n\n", "x".repeat(600));
        for broken in
            ["", "listen_port=1\n", "errno=x\n", "errno=99999999999\n", "nonsense\n", "listen_port=-1\n", &long]
        {
            read(broken).unwrap_err();
        }
        for broken in ["private_key=00\nerrno=0\n", "public_key=é\nerrno=0\n"] {
            assert_eq!(read(broken).unwrap_err().kind(), ErrorKind::InvalidData);
        }
        assert_eq!(read("errno=-98\n\n").unwrap_err().kind(), ErrorKind::AddrInUse);
        assert!(read("errno=-2147483648\n\n").is_err());
    }

    #[test]
    fn a_request_names_the_differences_and_never_replaces_all_peers() {
        let key = PublicKey::from_bytes([7; 32]);
        let changes = DeviceChanges {
            key: Some(PrivateKey::from_bytes([1; 32])),
            port: Some(4567),
            add: vec![Peer {
                public_key: PublicKey::from_bytes([8; 32]),
                address: [10, 8, 3, 8].into(),
                endpoint: "192.0.2.8:4567".parse().unwrap(),
                keepalive: None,
            }],
            change: vec![PeerChange {
                public_key: key,
                address: None,
                endpoint: Some("[2001:db8::7]:4567".parse().unwrap()),
                keepalive: None,
                drop_preshared: true,
            }],
            remove: vec![PublicKey::from_bytes([9; 32])],
        };
        let text = request(&changes);
        let capacity = text.capacity();
        let expected = format!(
            "set=1\nprivate_key={}\nlisten_port=4567\n\
             public_key={}\nremove=true\n\
             public_key={}\nupdate_only=true\npreshared_key={}\nendpoint=[2001:db8::7]:4567\n\
             public_key={}\nendpoint=192.0.2.8:4567\npersistent_keepalive_interval=0\n\
             replace_allowed_ips=true\nallowed_ip=10.8.3.8/32\n\n",
            "01".repeat(32),
            "09".repeat(32),
            "07".repeat(32),
            "00".repeat(32),
            "08".repeat(32),
        );
        assert_eq!(*text, expected);
        assert_eq!(capacity, 256 + 3 * 320, "the text has been moved, and a copy of the key left behind");
    }
}
