//! The lines that are refused, in a file: one JSON object on each line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::ImportError;

/// A line that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refusal {
    /// Its number in the imported file.
    pub(super) line: u64,
    /// The purchase's, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event_id: Option<String>,
    /// What is wrong with it, as problem details (RFC 9457).
    pub(super) problem: Value,
}

impl Refusal {
    /// A line that was not sent.
    pub(super) fn unreadable(line: u64, detail: &str) -> Self {
        let problem = json!({
            "type": "urn:tenantry:problem:unreadable-line",
            "title": "The line cannot be read as a purchase",
            "detail": detail,
        });
        Self { line, event_id: None, problem }
    }
}

/// The file of refused lines: made with the first.
#[derive(Debug)]
pub(super) struct RefusalFile {
    path: PathBuf,
    file: Option<File>,
}

impl RefusalFile {
    /// Goes on after the first `bytes` of it. A file that an earlier import has left is removed when this one begins.
    pub(super) fn open(path: PathBuf, bytes: u64) -> Result<Self, ImportError> {
        let mut refusals = Self { path, file: None };
        if bytes == 0 {
            match fs::remove_file(&refusals.path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(refusals.failed(source)),
                _ => {}
            }
        } else {
            refusals.file = Some(cut(&refusals.path, bytes).map_err(|source| refusals.failed(source))?);
        }
        Ok(refusals)
    }

    /// Writes refusals; how many bytes that is.
    pub(super) fn write(&mut self, refusals: &[Refusal]) -> Result<u64, ImportError> {
        if refusals.is_empty() {
            return Ok(0);
        }
        let mut text = Vec::new();
        for refusal in refusals {
            serde_json::to_writer(&mut text, refusal).map_err(|error| self.failed(error.into()))?;
            text.push(b'\n');
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let made = File::create(&self.path).map_err(|source| self.failed(source))?;
                self.file.insert(made)
            }
        };
        file.write_all(&text).map_err(|source| ImportError::Write { path: self.path.clone(), source })?;
        Ok(text.len() as u64)
    }

    /// Where it is, if there is one.
    pub(super) fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|_| self.path.as_path())
    }

    fn failed(&self, source: io::Error) -> ImportError {
        ImportError::Write { path: self.path.clone(), source }
    }
}

fn cut(path: &Path, bytes: u64) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.set_len(bytes)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}
