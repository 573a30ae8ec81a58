//! Keys. A private key can be used but not printed: it has no `Display`, its `Debug` is redacted, and it is wiped when
//! dropped. `wireguard_control::Key` does the curve arithmetic; it never leaves this file, because its own `Debug`
//! prints private keys.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64, Encoding};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::error::{Error, Result};
use crate::message;
use crate::message::Argument;

/// The private keys that documentation publishes as examples; anyone who copied one shares it with the world.
const PUBLISHED: &[&str] = &["yDPg5doavYH7fdD86nt+cOzSBL4znVZcrcrJwjY/Xmw="];

/// The public half of a key: 32 bytes, written in base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From raw bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        PublicKey(bytes)
    }

    /// Whether its private half is printed in public documentation.
    pub fn is_published(&self) -> bool {
        PUBLISHED.iter().any(|p| PrivateKey::from_str(p).is_ok_and(|k| k.public() == *self))
    }

    /// The first eight characters, enough to tell keys apart in a table.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64::encode_string(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl From<PublicKey> for Argument {
    fn from(key: PublicKey) -> Self {
        Argument::Text(key.to_string())
    }
}

impl FromStr for PublicKey {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = [0; 32];
        decode(text, &mut bytes)?;
        Ok(PublicKey(bytes))
    }
}

impl TryFrom<String> for PublicKey {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}

/// A private key. [`PrivateKey::expose`] is the only way to its text.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PrivateKey([u8; 32]);

impl PrivateKey {
    /// A fresh key from the system's random source.
    pub fn generate() -> Self {
        let mut made = wireguard_control::Key::generate_private();
        let key = PrivateKey(made.0);
        made.0.zeroize();
        key
    }

    /// From raw bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        PrivateKey(bytes)
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let mut key = wireguard_control::Key(self.0);
        let public = PublicKey(key.get_public().0);
        key.0.zeroize();
        public
    }

    /// Its base64 text, wiped when dropped: for writing vpn-private.conf and for nothing else.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(Base64::encode_string(&self.0))
    }

    /// The raw bytes, for handing the key to a device.
    pub fn expose_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

impl FromStr for PrivateKey {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        decode(text, &mut bytes)?;
        Ok(PrivateKey(*bytes))
    }
}

/// Strict base64 of exactly 32 bytes, as `wg` prints it. The error never quotes the text: it may be a private key.
fn decode(text: &str, into: &mut [u8; 32]) -> Result<()> {
    let bad = || Error::input(message!("not a WireGuard key (44 characters of base64, the last one '=')"));
    if text.len() != 44 {
        return Err(bad());
    }
    Base64::decode(text, into).map_err(|_| bad())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sample_pair_is_derived_and_known() {
        let private: PrivateKey = PUBLISHED[0].parse().unwrap();
        assert_eq!(private.public().to_string(), "acfzxE6ZsiYE4jIqsBicOt7oT8ZuKhxBvuz0+6JxiEc=");
        assert!(private.public().is_published());
        assert!(!PrivateKey::generate().public().is_published());
    }

    #[test]
    fn debug_prints_no_private_key() {
        let key = PrivateKey::generate();
        assert_eq!(format!("{key:?}"), "PrivateKey(redacted)");
    }

    #[test]
    fn sloppy_base64_is_refused_without_quoting_it() {
        let good = PrivateKey::generate().expose().to_string();
        for bad in [&good[..43], &format!(" {good}"), "", &good.replace('=', "A")] {
            let error = bad.parse::<PrivateKey>().unwrap_err().to_string();
            assert!(error.contains("not a WireGuard key") && (bad.is_empty() || !error.contains(bad)), "{error}");
        }
    }
}
