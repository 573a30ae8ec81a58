//! A private key that must not appear outside its file, in any form in which it could be printed.

use std::collections::BTreeMap;

use base64ct::{Base64, Base64Url, Encoding};
use mitigator_vpn::wireguard::PrivateKey;

/// This many characters of a key count as a leak.
const PIECE: usize = 12;

/// A key planted in order to search for it.
pub struct Canary {
    /// As it stands in vpn-private.conf.
    pub text: String,
    /// Its public key.
    pub public: String,
    pieces: BTreeMap<Vec<u8>, &'static str>,
}

impl Canary {
    /// A new one.
    pub fn new() -> Self {
        let mut bytes = [0; 32];
        let mut random = std::fs::File::open("/dev/urandom").expect("every host has it");
        std::io::Read::read_exact(&mut random, &mut bytes).expect("it never ends");
        // As `wg genkey` does.
        bytes[0] &= 248;
        bytes[31] = (bytes[31] & 127) | 64;
        Self::of(&bytes)
    }

    fn of(bytes: &[u8; 32]) -> Self {
        let text = Base64::encode_string(bytes);
        let lower: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
        let forms: [(&'static str, Vec<u8>, usize); 7] = [
            ("base64", text.clone().into_bytes(), PIECE),
            ("base64url", Base64Url::encode_string(bytes).into_bytes(), PIECE),
            ("hex", lower.clone().into_bytes(), 2 * PIECE),
            ("hex in capitals", lower.to_uppercase().into_bytes(), 2 * PIECE),
            ("raw bytes", bytes.to_vec(), PIECE),
            ("the Debug of an array", numbers.join(", ").into_bytes(), 3 * PIECE),
            ("the Debug of an array, pretty", numbers.join(",\n").into_bytes(), 3 * PIECE),
        ];
        let mut pieces = BTreeMap::new();
        for (form, whole, length) in forms {
            for piece in whole.windows(length) {
                pieces.entry(piece.to_vec()).or_insert(form);
            }
        }
        let key: PrivateKey = text.parse().expect("32 bytes are a key");
        Canary { text, public: key.public().to_string(), pieces }
    }

    /// The private file it is planted in.
    pub fn private_conf(&self) -> String {
        format!("[Interface]\nListenPort = 4567\nPrivateKey = {}\n", self.text)
    }

    /// The form in which a piece of the key is among these bytes, if one is.
    pub fn leaks_in(&self, bytes: &[u8]) -> Option<&'static str> {
        [PIECE, 2 * PIECE, 3 * PIECE]
            .into_iter()
            .flat_map(|length| bytes.windows(length))
            .find_map(|piece| self.pieces.get(piece).copied())
    }

    /// No piece of the key is among these bytes.
    #[track_caller]
    pub fn is_not_in(&self, place: &str, bytes: &[u8]) {
        if let Some(form) = self.leaks_in(bytes) {
            panic!("the private key is in {place}, as {form}");
        }
    }
}
