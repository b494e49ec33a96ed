//! Credentials as files (paths in [`tenantry_contract::paths`]). A file changes in place when its credential is rotated, so
//! holders read it again whenever they use it anew; the value never reaches a log or an error.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tenantry_contract::paths;

/// A secret value. `Debug` shows nothing of it; there is no `Display` and no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes the value in.
    pub fn new(value: impl Into<Box<str>>) -> Self {
        Self(value.into())
    }

    /// The value, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(redacted)")
    }
}

/// A credential file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file is missing, not readable, or not UTF-8.
    #[error("cannot read the credential file {}: {source}; mount it, or name its root with --credentials", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file has no content.
    #[error("the credential file {} is empty", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

/// Reads a credential file once. A final newline is not part of the value.
///
/// # Errors
/// When the file cannot be read or is empty.
pub fn read(path: &Path) -> Result<Secret, CredentialError> {
    let text = std::fs::read_to_string(path).map_err(|source| CredentialError::Unreadable { path: path.to_owned(), source })?;
    let value = text.strip_suffix('\n').unwrap_or(&text);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() {
        return Err(CredentialError::Empty { path: path.to_owned() });
    }
    Ok(Secret::new(value))
}

/// As [`read`]; `None` when there is no such file.
///
/// # Errors
/// When the file is there and cannot be read, or is empty.
pub fn read_if_present(path: &Path) -> Result<Option<Secret>, CredentialError> {
    match read(path) {
        Err(CredentialError::Unreadable { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// A credential file with its last known value.
#[derive(Debug)]
pub struct CredentialFile {
    path: PathBuf,
    current: ArcSwap<Secret>,
}

impl CredentialFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// When the file cannot be read or is empty.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, CredentialError> {
        let path = path.into();
        let current = ArcSwap::from_pointee(read(&path)?);
        Ok(Self { path, current })
    }

    /// The value as last read.
    pub fn current(&self) -> Arc<Secret> {
        self.current.load_full()
    }

    /// Reads the file again, and says whether its value changed. A file that cannot be read leaves the value as it was: it
    /// may be in the middle of being replaced.
    ///
    /// # Errors
    /// When the file cannot be read or is empty.
    pub fn reload(&self) -> Result<bool, CredentialError> {
        let fresh = read(&self.path)?;
        let changed = **self.current.load() != fresh;
        if changed {
            self.current.store(Arc::new(fresh));
        }
        Ok(changed)
    }
}

/// Where the credential directories of a process are.
#[derive(Debug, Clone)]
pub struct CredentialRoot(PathBuf);

impl CredentialRoot {
    /// Directories below `root`, named as in [`tenantry_contract::paths`].
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The root in a pod: the parent of the directories in [`tenantry_contract::paths`].
    pub fn in_pod() -> Self {
        Self(Path::new(paths::API_CREDENTIAL_DIRECTORY).parent().map(Path::to_owned).unwrap_or_default())
    }

    /// The database login's directory.
    pub fn database(&self) -> PathBuf {
        self.directory(paths::DATABASE_CREDENTIAL_DIRECTORY)
    }

    /// The cache password's directory.
    pub fn cache(&self) -> PathBuf {
        self.directory(paths::CACHE_CREDENTIAL_DIRECTORY)
    }

    /// The file of the slot's bearer token.
    pub fn api_token(&self) -> PathBuf {
        self.directory(paths::API_CREDENTIAL_DIRECTORY).join(paths::TOKEN)
    }

    /// The directory of a credential of the tenant's own, one that the service's descriptor names. It may not be there.
    pub fn of_tenant(&self, name: &str) -> PathBuf {
        self.directory(&paths::user_credential(name))
    }

    fn directory(&self, in_pod: &str) -> PathBuf {
        self.0.join(Path::new(in_pod).file_name().unwrap_or_default())
    }
}

impl From<CredentialRoot> for PathBuf {
    fn from(root: CredentialRoot) -> Self {
        root.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_redacted() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(Secret(redacted))");
    }

    #[test]
    fn a_final_newline_is_no_part_of_the_value() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, "hunter2\n").unwrap();
        assert_eq!(read(&path).unwrap().expose(), "hunter2");
    }

    #[test]
    fn a_changed_file_is_seen_on_reload_and_a_missing_one_keeps_the_value() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, "old").unwrap();
        let file = CredentialFile::open(&path).unwrap();
        assert!(!file.reload().unwrap());
        std::fs::write(&path, "new").unwrap();
        assert!(file.reload().unwrap());
        std::fs::remove_file(&path).unwrap();
        let error = file.reload().unwrap_err().to_string();
        assert!(error.contains("password") && !error.contains("new"), "{error}");
        assert_eq!(file.current().expose(), "new");
    }

    #[test]
    fn the_directories_are_those_of_the_contract() {
        assert_eq!(CredentialRoot::in_pod().database(), Path::new(paths::DATABASE_CREDENTIAL_DIRECTORY));
        assert_eq!(CredentialRoot::in_pod().cache(), Path::new(paths::CACHE_CREDENTIAL_DIRECTORY));
        assert_eq!(CredentialRoot::in_pod().of_tenant("webhook"), Path::new(&paths::user_credential("webhook")));
        assert_eq!(CredentialRoot::new("/x").api_token(), Path::new("/x/api/token"));
    }
}
