//! SHA-256 digests that hosts are compared by, one type for each kind of content.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::PublicKey;
use crate::error::{Error, Result};
use crate::message;

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name([u8; 32]);

        impl fmt::Display for $name {
            /// 64 lower-case hexadecimal digits; a precision cuts them, as in `{digest:.12}`.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                parse(text).map($name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(digest: $name) -> String {
                digest.to_string()
            }
        }
    };
}

digest! {
    /// Of the exact bytes of a vpn-public.conf: equal on all instances, or the lists have drifted apart.
    ListDigest
}

digest! {
    /// Of keys and addresses in any order and notation: equal for a list and for a device that does what the list says.
    MembersDigest
}

impl ListDigest {
    /// Of a file with these bytes.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        ListDigest(Sha256::digest(bytes).into())
    }
}

impl MembersDigest {
    /// Of these members.
    pub fn of(members: impl Iterator<Item = (Ipv4Addr, PublicKey)>) -> Self {
        let members: BTreeSet<(Ipv4Addr, PublicKey)> = members.collect();
        let text: String = members.iter().map(|(address, key)| format!("{address} {key}\n")).collect();
        MembersDigest(Sha256::digest(text).into())
    }
}

/// Exactly 64 lower-case hexadecimal digits.
fn parse(text: &str) -> Result<[u8; 32]> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let digits: Option<Vec<u8>> = text.as_bytes().iter().map(digit).collect();
    let bytes =
        digits.map(|digits| digits.chunks(2).map(|pair| pair.iter().fold(0, |sum, digit| sum << 4 | digit)).collect());
    bytes
        .filter(|_| text.len() == 64)
        .and_then(|bytes: Vec<u8>| bytes.try_into().ok())
        .ok_or_else(|| Error::input(message!("not a SHA-256 digest (64 lower-case hexadecimal digits)")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_lower_case_hexadecimal_digits_are_a_digest() {
        let digest = ListDigest::of("x");
        assert_eq!(digest.to_string().parse::<ListDigest>().unwrap(), digest);
        assert_eq!(format!("{digest:.12}"), digest.to_string()[..12]);
        let text = digest.to_string();
        for bad in
            ["", "aéééé", &text[..63], &text.to_uppercase(), &format!("{text}0"), &"é".repeat(32), &format!(" {text}")]
        {
            assert!(bad.parse::<ListDigest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_digest_of_members_does_not_depend_on_their_order() {
        let member = |n: u8| (Ipv4Addr::new(10, 8, 3, n), PublicKey::from_bytes([n; 32]));
        let of = |members: &[(Ipv4Addr, PublicKey)]| MembersDigest::of(members.iter().copied());
        assert_eq!(of(&[member(1), member(2)]), of(&[member(2), member(1)]));
        assert_ne!(of(&[member(1)]), of(&[member(2)]));
    }
}
