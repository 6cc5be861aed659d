//! Encrypts secrets that are stored in the database: XChaCha20-Poly1305, bound to the tenant.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::domain::ids::TenantId;
use crate::domain::{Error, Result};

const NONCE_BYTES: usize = 24;
const KEY_ID_BYTES: usize = 4;

/// Why the encryption keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A key is not 32 bytes in base64.
    #[error("an encryption key must be 32 random bytes in base64, as printed by `openssl rand -base64 32`")]
    BadKey,
    /// No key is configured.
    #[error("no encryption key was given")]
    NoKey,
    /// The file cannot be read or created.
    #[error("cannot read or create the encryption key file {path}: {cause}")]
    File {
        /// The path of the file.
        path: String,
        /// The error of the operating system.
        cause: std::io::Error,
    },
}

/// The encryption keys. The first encrypts, all decrypt.
pub struct Vault {
    keys: Vec<([u8; KEY_ID_BYTES], XChaCha20Poly1305)>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({} keys)", self.keys.len())
    }
}

impl Vault {
    /// Parses keys in base64, separated by white space or commas. The first encrypts; the others decrypt what was
    /// encrypted before a rotation.
    pub fn new(keys: &SecretString) -> Result<Self, VaultError> {
        let texts = keys.expose_secret().split(|c: char| c == ',' || c.is_whitespace()).filter(|text| !text.is_empty());
        let keys = texts.map(key).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(VaultError::NoKey) } else { Ok(Self { keys }) }
    }

    /// Reads the keys from a file. If the file is missing, creates it with a new key, readable only by its owner.
    pub fn from_file(path: &Path) -> Result<Self, VaultError> {
        let file_error = |cause| VaultError::File { path: path.display().to_string(), cause };
        match std::fs::read_to_string(path) {
            Ok(text) => Self::new(&SecretString::from(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut bytes = Zeroizing::new([0_u8; 32]);
                getrandom::fill(bytes.as_mut_slice()).map_err(|error| file_error(std::io::Error::other(error)))?;
                let text = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
                write_private(path, text.as_bytes()).map_err(file_error)?;
                // Read back: another process that started at the same time may have created the file first.
                Self::new(&SecretString::from(std::fs::read_to_string(path).map_err(file_error)?))
            }
            Err(cause) => Err(file_error(cause)),
        }
    }

    /// Encrypts a text, bound to a tenant.
    pub fn seal(&self, tenant: &TenantId, plain: &str) -> Result<String> {
        let (id, cipher) = self.keys.first().ok_or_else(|| Error::internal(VaultError::NoKey))?;
        let mut nonce = [0_u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| Error::internal(error.to_string()))?;
        let payload = Payload { msg: plain.as_bytes(), aad: tenant.as_str().as_bytes() };
        let sealed = cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| Error::internal("encryption failed"))?;
        Ok(STANDARD.encode([id.as_slice(), nonce.as_slice(), sealed.as_slice()].concat()))
    }

    /// Decrypts a text that was encrypted for the same tenant. Errors with `connection_keys_unreadable`.
    pub fn open(&self, tenant: &TenantId, sealed: &str) -> Result<SecretString> {
        let unreadable = || {
            let detail = "the stored keys cannot be decrypted with the current encryption key: enter them again";
            Error::ConnectWise {
                code: crate::domain::ConnectWiseCode::KeysUnreadable,
                detail: detail.to_owned(),
                retry_after: None,
                connection_at_fault: true,
            }
        };
        let bytes = STANDARD.decode(sealed).map_err(|_| unreadable())?;
        let (id, rest) = bytes.split_at_checked(KEY_ID_BYTES).ok_or_else(unreadable)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(unreadable)?;
        let cipher =
            self.keys.iter().find(|(known, _)| known == id).map(|(_, cipher)| cipher).ok_or_else(unreadable)?;
        let payload = Payload { msg: text, aad: tenant.as_str().as_bytes() };
        let plain = Zeroizing::new(cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| unreadable())?);
        Ok(SecretString::from(String::from_utf8_lossy(&plain).into_owned()))
    }
}

fn key(text: &str) -> Result<([u8; KEY_ID_BYTES], XChaCha20Poly1305), VaultError> {
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| VaultError::BadKey)?);
    let cipher = XChaCha20Poly1305::new_from_slice(&bytes).map_err(|_| VaultError::BadKey)?;
    let digest = Sha256::digest(bytes.as_slice());
    let id = digest.first_chunk::<KEY_ID_BYTES>().copied().ok_or(VaultError::BadKey)?;
    Ok((id, cipher))
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let own = path.with_extension(format!("{}.new", uuid::Uuid::now_v7().simple()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&own)?;
    file.write_all(bytes)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    // A hard link never replaces a file: the file appears complete, and of two processes that start together, the first
    // wins.
    let linked = std::fs::hard_link(&own, path);
    std::fs::remove_file(&own)?;
    match linked {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(keys: &[u8]) -> Vault {
        let text: Vec<String> = keys.iter().map(|byte| STANDARD.encode([*byte; 32])).collect();
        Vault::new(&SecretString::from(text.join(","))).unwrap()
    }

    #[test]
    fn sealed_for_one_tenant_it_opens_for_no_other() {
        let (one, two) = (TenantId::new(), TenantId::new());
        let sealed = vault(&[1]).seal(&one, "hunter2").unwrap();
        assert!(!sealed.contains("hunter2"));
        assert_eq!(vault(&[1]).open(&one, &sealed).unwrap().expose_secret(), "hunter2");
        assert!(vault(&[1]).open(&two, &sealed).is_err());
        assert!(vault(&[2]).open(&one, &sealed).is_err());
        assert!(vault(&[1]).open(&one, &sealed[..20]).is_err());
    }

    #[test]
    fn after_a_rotation_old_secrets_still_open() {
        let tenant = TenantId::new();
        let old = vault(&[1]).seal(&tenant, "x").unwrap();
        let rotated = vault(&[2, 1]);
        assert_eq!(rotated.open(&tenant, &old).unwrap().expose_secret(), "x");
        let new = rotated.seal(&tenant, "x").unwrap();
        assert!(vault(&[1]).open(&tenant, &new).is_err());
    }

    #[test]
    fn processes_that_start_together_agree_on_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let (path, tenant) = (folder.path().join("key"), TenantId::new());
        let vaults: Vec<Vault> = std::thread::scope(|scope| {
            let one = || Vault::from_file(&path).unwrap();
            let all: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for vault in &vaults {
            let sealed = vault.seal(&tenant, "x").unwrap();
            assert!(vaults.iter().all(|other| other.open(&tenant, &sealed).is_ok()));
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_key_file_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/key");
        let tenant = TenantId::new();
        let sealed = Vault::from_file(&path).unwrap().seal(&tenant, "x").unwrap();
        assert_eq!(Vault::from_file(&path).unwrap().open(&tenant, &sealed).unwrap().expose_secret(), "x");
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(Vault::from_file(&path), Err(VaultError::BadKey)));
    }
}
