//! Passwords and tokens, derived from the operator's master key, so that the same value comes back whenever it is asked
//! for and nothing has to be stored but the key. PostgreSQL is given verifiers only: no statement carries a password.

use std::fmt;

use data_encoding::{BASE32_NOPAD, BASE64};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::names::SlotIdentity;

/// The shortest master key, in bytes.
pub const MIN_MASTER_KEY: usize = 32;
/// The iterations of a SCRAM verifier: what PostgreSQL itself uses by default.
const SCRAM_ITERATIONS: u32 = 4096;
/// Bytes of a SCRAM salt, as PostgreSQL has it.
const SCRAM_SALT: usize = 16;

/// The operator's master key. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey(Vec<u8>);

/// A master key that is too short to be one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the master key has {length} bytes, it needs at least {MIN_MASTER_KEY}: restore the Secret from its backup")]
pub struct MasterKeyTooShort {
    /// Its length in bytes.
    pub length: usize,
}

impl MasterKey {
    /// Takes the key's bytes as the Secret has them.
    ///
    /// # Errors
    /// When there are fewer than [`MIN_MASTER_KEY`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MasterKeyTooShort> {
        if bytes.len() < MIN_MASTER_KEY {
            return Err(MasterKeyTooShort { length: bytes.len() });
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The password of that use. A later `generation` is another password.
    pub fn password(&self, identity: &SlotIdentity, service: &str, credential: &str, generation: u32) -> Password {
        let bytes: [u8; 20] = self.derive(identity, service, credential, generation, "password");
        Password(BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }

    /// Names a password without saying anything of it: derived beside it, not from it.
    pub fn fingerprint(&self, identity: &SlotIdentity, service: &str, credential: &str, generation: u32) -> String {
        let bytes: [u8; 5] = self.derive(identity, service, credential, generation, "fingerprint");
        BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
    }

    /// The SCRAM-SHA-256 verifier of the password of that use, with a salt derived beside it.
    pub fn verifier(&self, identity: &SlotIdentity, service: &str, credential: &str, generation: u32) -> Verifier {
        let salt: [u8; SCRAM_SALT] = self.derive(identity, service, credential, generation, "salt");
        let password = self.password(identity, service, credential, generation);
        Verifier::of(password.reveal(), &salt, SCRAM_ITERATIONS)
    }

    fn derive<const N: usize>(&self, identity: &SlotIdentity, service: &str, credential: &str, generation: u32, output: &str) -> [u8; N] {
        let generation = generation.to_string();
        let parts = ["tenantry/v1", &identity.cluster_uid, &identity.group_uid, &identity.slot, service, credential, &generation, output];
        let mut info = Vec::new();
        for part in parts {
            info.extend_from_slice(&(part.len() as u32).to_be_bytes());
            info.extend_from_slice(part.as_bytes());
        }
        let mut bytes = [0; N];
        Hkdf::<Sha256>::new(None, &self.0).expand(&info, &mut bytes).expect("N is far below 255 times the hash's length");
        bytes
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey(***)")
    }
}

/// A password or token: 32 lower-case letters and digits, 160 bits. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The password itself, for a Secret's data.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(***)")
    }
}

/// What PostgreSQL stores of a password: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` (RFC 5802, RFC 7677).
/// With it one can impersonate the server and guess passwords: `Debug` and `Serialize` do not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier(String);

impl Verifier {
    /// Computes the verifier. The password has to be ASCII, for which SASLprep changes nothing.
    fn of(password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = pbkdf2(password.as_bytes(), salt, iterations);
        let stored_key = Sha256::digest(hmac(&salted, &[b"Client Key"]));
        let server_key = hmac(&salted, &[b"Server Key"]);
        Self(format!("SCRAM-SHA-256${iterations}:{}${}:{}", BASE64.encode(salt), BASE64.encode(&stored_key), BASE64.encode(&server_key)))
    }

    /// The verifier itself, for `ALTER ROLE ... PASSWORD`.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Verifier(***)")
    }
}

impl Serialize for Verifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// The first block of PBKDF2 with HMAC-SHA-256: `Hi` of RFC 5802.
fn pbkdf2(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    let mut block = hmac(password, &[salt, &1_u32.to_be_bytes()]);
    let mut sum = block;
    for _ in 1..iterations {
        block = hmac(password, &[&block]);
        sum.iter_mut().zip(block).for_each(|(byte, other)| *byte ^= other);
    }
    sum
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> SlotIdentity {
        SlotIdentity { cluster_uid: "cluster".into(), group_uid: "group".into(), slot: "dev".into() }
    }

    fn key() -> MasterKey {
        MasterKey::from_bytes(&[7; 32]).unwrap()
    }

    /// The example of RFC 7677, section 3: user `user`, password `pencil`. Its messages hold no StoredKey; the client's proof
    /// and the server's signature there are made of the keys checked here.
    #[test]
    fn a_verifier_is_that_of_rfc_7677() {
        let salt = BASE64.decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let salted = pbkdf2(b"pencil", &salt, 4096);
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
                       r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
                       c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let server_key = hmac(&salted, &[b"Server Key"]);
        let signature = hmac(&server_key, &[message.as_bytes()]);
        assert_eq!(BASE64.encode(&signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let client_key = hmac(&salted, &[b"Client Key"]);
        let stored_key = Sha256::digest(client_key);
        let mut proof = hmac(&stored_key, &[message.as_bytes()]);
        proof.iter_mut().zip(client_key).for_each(|(byte, other)| *byte ^= other);
        assert_eq!(BASE64.encode(&proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let verifier = Verifier::of("pencil", &salt, 4096);
        assert_eq!(
            verifier.reveal(),
            format!("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==${}:{}", BASE64.encode(&stored_key), BASE64.encode(&server_key))
        );
    }

    #[test]
    fn every_use_has_a_password_of_its_own_and_always_the_same() {
        let other_slot = SlotIdentity { slot: "staging".into(), ..identity() };
        let passwords = [
            key().password(&identity(), "campaigns", "a", 1),
            key().password(&identity(), "campaigns", "a", 2),
            key().password(&identity(), "campaigns", "b", 1),
            key().password(&identity(), "other", "a", 1),
            key().password(&other_slot, "campaigns", "a", 1),
            MasterKey::from_bytes(&[8; 32]).unwrap().password(&identity(), "campaigns", "a", 1),
        ];
        for (index, password) in passwords.iter().enumerate() {
            assert_eq!(password.reveal().len(), 32);
            assert!(passwords[..index].iter().all(|earlier| earlier != password));
        }
        assert_eq!(passwords[0], key().password(&identity(), "campaigns", "a", 1));
    }

    /// Data hangs on it: a change of the derivation would change every password of every tenant.
    #[test]
    fn the_derivation_never_changes() {
        assert_eq!(key().password(&identity(), "campaigns", "a", 1).reveal(), "kocowg26pcmnqwakxcvbnpagcbqydspl");
    }

    #[test]
    fn a_key_of_31_bytes_is_refused() {
        assert_eq!(MasterKey::from_bytes(&[7; 31]), Err(MasterKeyTooShort { length: 31 }));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let verifier = key().verifier(&identity(), "campaigns", "a", 1);
        let password = key().password(&identity(), "campaigns", "a", 1);
        let printed = format!("{:?} {verifier:?} {password:?} {}", key(), serde_json::to_string(&verifier).unwrap());
        assert_eq!(printed, r#"MasterKey(***) Verifier(***) Password(***) "***""#);
    }
}
