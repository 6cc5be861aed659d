//! Signatures by the Standard Webhooks specification.
//!
//! Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>, symmetric
//! signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The prefix of a secret's text.
const SECRET_PREFIX: &str = "whsec_";
/// The number of random bytes of a secret; the specification allows 24 to 64.
const SECRET_BYTES: usize = 32;

/// A secret that signs deliveries.
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why a secret cannot be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no secret of a webhook, or no random bytes for one")]
pub struct BadSecret;

impl Secret {
    /// Makes a random secret.
    pub fn random() -> Result<Self, BadSecret> {
        let mut bytes = Zeroizing::new(vec![0_u8; SECRET_BYTES]);
        getrandom::fill(&mut bytes).map_err(|_| BadSecret)?;
        Ok(Self(bytes))
    }

    /// Reads the text of a secret.
    pub fn parse(text: &SecretString) -> Result<Self, BadSecret> {
        let encoded = text.expose_secret().strip_prefix(SECRET_PREFIX).ok_or(BadSecret)?;
        STANDARD.decode(encoded).map(|bytes| Self(Zeroizing::new(bytes))).map_err(|_| BadSecret)
    }

    /// The text of the secret: `whsec_` and base64.
    pub fn text(&self) -> SecretString {
        SecretString::from(format!("{SECRET_PREFIX}{}", STANDARD.encode(self.0.as_slice())))
    }

    fn sign(&self, content: &[u8]) -> Result<String, BadSecret> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).map_err(|_| BadSecret)?;
        mac.update(content);
        Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}

/// The headers of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryHeaders {
    /// `webhook-id`: the same for all attempts.
    pub id: String,
    /// `webhook-timestamp`: when this attempt is made, in seconds since 1970.
    pub timestamp: i64,
    /// `webhook-signature`: one signature for each secret, separated by spaces.
    pub signature: String,
}

impl DeliveryHeaders {
    /// Signs a body with each of the secrets.
    pub fn new(id: &str, timestamp: i64, body: &str, secrets: &[Secret]) -> Result<Self, BadSecret> {
        let content = format!("{id}.{timestamp}.{body}");
        let signatures: Vec<String> =
            secrets.iter().map(|secret| secret.sign(content.as_bytes())).collect::<Result<_, _>>()?;
        Ok(Self { id: id.to_owned(), timestamp, signature: signatures.join(" ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example used by the specification's libraries.
    #[test]
    fn the_signature_is_the_one_of_the_specification() {
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let secrets = [Secret::parse(&secret).unwrap()];
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed = DeliveryHeaders::new(id, 1_614_265_330, r#"{"test": 2432232314}"#, &secrets).unwrap();
        assert_eq!(signed.signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_read_back() {
        let secret = Secret::random().unwrap();
        let text = secret.text();
        assert!(text.expose_secret().starts_with("whsec_"));
        assert_eq!(*Secret::parse(&text).unwrap().0, *secret.0);
        assert!(Secret::parse(&SecretString::from("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).is_err());
    }
}
