//! How far an import came, in a file beside the imported one: written whole after each batch, removed at the end.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::lines::{Format, Place};
use super::{ImportError, ImportOptions};

/// What makes an import the same one: the file as it was, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Import {
    bytes: u64,
    modified: String,
    format: Format,
    url: String,
}

impl Import {
    pub(super) fn of(options: &ImportOptions, file: &File, format: Format) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let since_epoch = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { bytes: metadata.len(), modified: since_epoch.as_nanos().to_string(), format, url: options.url.to_string() })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// How far it came, and what became of the lines until there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    import: Import,
    pub(super) place: Place,
    pub(super) accepted: u64,
    pub(super) repeated: u64,
    pub(super) refused: u64,
    /// How long the file of refused lines is: what a killed process wrote after that is written again.
    pub(super) refused_bytes: u64,
}

/// Where the state is kept.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The state that an interrupted import has left, if it did.
    pub(super) fn read(&self, import: &Import) -> Result<Option<State>, ImportError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ImportError::File { path: self.path.clone(), source }),
        };
        let state: Option<State> = serde_json::from_slice(&text).ok();
        match state.filter(|state| state.import == *import) {
            Some(state) => Ok(Some(state)),
            None => Err(ImportError::OtherImport { path: self.path.clone() }),
        }
    }

    /// The state of an import that begins.
    pub(super) fn begin(import: Import) -> State {
        State { import, place: Place::default(), accepted: 0, repeated: 0, refused: 0, refused_bytes: 0 }
    }

    /// Replaces the file.
    pub(super) fn write(&self, state: &State) -> Result<(), ImportError> {
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        let replace = || {
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec(state)?)?;
            fs::rename(&new, &self.path)
        };
        replace().map_err(|source| self.failed(source))
    }

    /// Removes the file: the import is finished.
    pub(super) fn remove(&self) -> Result<(), ImportError> {
        match fs::remove_file(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(self.failed(source)),
            _ => Ok(()),
        }
    }

    fn failed(&self, source: io::Error) -> ImportError {
        ImportError::Write { path: self.path.clone(), source }
    }
}
