//! Whose certificates a webhook's receiver may show: those of the web, or those of the authorities in a file that changes in place.

use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::credentials::{self, CredentialError};

/// Authorities that cannot be used: nothing was sent. The text has nothing of the file, into which somebody may have put a private key.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// The file cannot be read.
    #[error("the webhook's receiver cannot be verified: {0}")]
    File(#[from] CredentialError),
    /// There is no certificate in it.
    #[error(
        "the webhook's receiver cannot be verified: {} holds no certificates in PEM; write those of its authorities, each from \
         -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----, or remove the file, and the authorities of the web are trusted",
        path.display()
    )]
    NoCertificates {
        /// Which file.
        path: PathBuf,
    },
    /// A certificate that cannot be read.
    #[error(
        "the webhook's receiver cannot be verified: certificate {number} of {} is damaged; write it anew, all of it from \
         -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which of its certificates, from 1 on.
        number: usize,
    },
}

/// The authorities of one webhook: the file [`Authorities::FILE`] of a directory, if it is there.
#[derive(Debug, Clone)]
pub struct Authorities {
    path: PathBuf,
}

impl Authorities {
    /// The file with their certificates in PEM.
    pub const FILE: &str = "ca.crt";

    /// The authorities in `directory`, which need not be there yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { path: directory.into().join(Self::FILE) }
    }

    /// As they are now; `None` without a file: then they are the web's.
    ///
    /// # Errors
    /// When the file is there and holds no certificate, or one that is damaged.
    pub fn read(&self) -> Result<Option<RootCertStore>, AuthoritiesError> {
        let Some(text) = credentials::read_if_present(&self.path)? else { return Ok(None) };
        let mut authorities = RootCertStore::empty();
        for (index, certificate) in CertificateDer::pem_slice_iter(text.expose().as_bytes()).enumerate() {
            let damaged = || AuthoritiesError::Damaged { path: self.path.clone(), number: index + 1 };
            authorities.add(certificate.map_err(|_| damaged())?).map_err(|_| damaged())?;
        }
        if authorities.is_empty() { Err(AuthoritiesError::NoCertificates { path: self.path.clone() }) } else { Ok(Some(authorities)) }
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;
    use tenantry_harness::authority::Authority;

    use super::*;

    #[test]
    fn authorities_are_read_as_they_are_and_are_the_webs_without_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let authorities = Authorities::new(directory.path());
        assert!(authorities.read().unwrap().is_none());
        let [one, other] = ["one", "other"].map(|name| Authority::new(name).unwrap().certificate().unwrap());
        for (text, count) in [(one.clone(), 1), (format!("# a comment\n{one}\n{other}"), 2)] {
            std::fs::write(directory.path().join("ca.crt"), text).unwrap();
            assert_eq!(authorities.read().unwrap().unwrap().len(), count);
        }
    }

    #[test]
    fn what_is_no_certificate_is_told_without_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let authorities = Authorities::new(directory.path());
        let secret = BASE64.encode(b"a secret that is long enough");
        let pem = |label: &str| format!("-----BEGIN {label}-----\n{secret}\n-----END {label}-----\n");
        let good = Authority::new("good").unwrap().certificate().unwrap();
        let cut = good.replace("-----END CERTIFICATE-----", "");
        for (text, expected) in [
            (String::new(), "is empty"),
            (secret.clone(), "no certificates in PEM"),
            (pem("PRIVATE KEY"), "no certificates in PEM"),
            (format!("-----BEGIN {secret}"), "certificate 1 of"),
            (format!("{good}{cut}"), "certificate 2 of"),
            (format!("{good}{}", pem("CERTIFICATE")), "certificate 2 of"),
        ] {
            std::fs::write(directory.path().join("ca.crt"), &text).unwrap();
            let error = authorities.read().unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(told.contains(expected) && told.contains("ca.crt") && !told.contains(&secret), "{text:?}: {told}");
        }
    }
}
