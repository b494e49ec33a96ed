//! A certificate authority of one's own, and the certificates that servers have from it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// An authority; its files go with it.
pub struct Authority {
    directory: TempDir,
}

/// What a server shows, and what it keeps: files in PEM.
pub struct ServerCertificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Authority {
    /// One of that name.
    ///
    /// # Errors
    /// When there is no `openssl`.
    pub fn new(name: &str) -> Result<Self> {
        let authority = Self { directory: tempfile::tempdir()? };
        make(&authority.file("ca"), &["-subj", &format!("/CN={name}")])?;
        Ok(authority)
    }

    /// Its own certificate in PEM.
    ///
    /// # Errors
    /// When it is gone.
    pub fn certificate(&self) -> Result<String> {
        Ok(fs::read_to_string(self.file("ca").certificate)?)
    }

    /// A certificate for the server with that host name.
    ///
    /// # Errors
    /// When `openssl` refuses the name.
    pub fn certify(&self, host: &str) -> Result<ServerCertificate> {
        let (own, server) = (self.file("ca"), self.file(host));
        let [certificate, key] = [&own.certificate, &own.key].map(|path| path.to_string_lossy());
        let name = format!("subjectAltName=DNS:{host}");
        let issuer = ["-CA", &certificate, "-CAkey", &key, "-subj", "/CN=server", "-addext", &name];
        make(&server, &[&issuer[..], &["-addext", "basicConstraints=critical,CA:FALSE"]].concat())?;
        Ok(server)
    }

    fn file(&self, name: &str) -> ServerCertificate {
        let path = |extension: &str| self.directory.path().join(format!("{name}.{extension}"));
        ServerCertificate { certificate: path("crt"), key: path("key") }
    }
}

fn make(files: &ServerCertificate, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]).args(arguments);
    command.arg("-keyout").arg(&files.key).arg("-out").arg(&files.certificate);
    let output = command.output().context("openssl (on Debian: apt-get install openssl)")?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
