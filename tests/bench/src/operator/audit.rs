//! The API server's audit log: who asked for what, and when. It is read on from where the last reading ended.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;
use tenantry_harness::operator::USER;

/// A finished request.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    pub verb: String,
    pub stage: String,
    user: User,
    object_ref: Option<ObjectRef>,
    response_status: Option<Status>,
    #[serde(rename = "requestURI")]
    pub uri: String,
    pub request_received_timestamp: Timestamp,
    pub stage_timestamp: Timestamp,
}

#[derive(Debug, Clone, Deserialize)]
struct User {
    username: String,
}

#[derive(Debug, Clone, Deserialize)]
struct ObjectRef {
    resource: String,
    subresource: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Status {
    code: u16,
}

impl Request {
    pub fn is_operators(&self) -> bool {
        self.user.username == USER
    }

    pub fn resource(&self) -> &str {
        self.object_ref.as_ref().map_or("", |object| &object.resource)
    }

    /// Whether it changes something, the Lease excepted.
    pub fn is_write(&self) -> bool {
        ["create", "update", "patch", "delete", "deletecollection"].contains(&self.verb.as_str()) && self.resource() != "leases"
    }

    /// Whether it made an object.
    pub fn created(&self) -> bool {
        let is_main = self.object_ref.as_ref().is_some_and(|object| object.subresource.is_none() && object.resource != "events");
        self.is_write() && is_main && self.response_status.as_ref().is_some_and(|status| status.code == 201)
    }

    /// What it did, for counting.
    pub fn kind_of_write(&self) -> String {
        let subresource = self.object_ref.as_ref().and_then(|object| object.subresource.as_deref()).unwrap_or_default();
        let code = self.response_status.as_ref().map_or(0, |status| status.code);
        let outcome = match code {
            _ if self.created() => " (new)".to_owned(),
            400.. => format!(" ({code})"),
            _ => String::new(),
        };
        format!("{} {}/{subresource}{outcome}", self.verb, self.resource())
    }
}

/// Reads the log from its end at the time of opening.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    position: u64,
}

impl AuditLog {
    pub fn at_end(path: &Path) -> Result<Self> {
        let position = path.metadata().with_context(|| format!("no audit log at {}", path.display()))?.len();
        Ok(Self { path: path.to_owned(), position })
    }

    /// What was finished since the last call.
    pub fn read(&mut self) -> Result<Vec<Request>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.position))?;
        let mut reader = BufReader::new(file);
        let mut requests = Vec::new();
        let mut line = String::new();
        loop {
            line.clear();
            let length = reader.read_line(&mut line)?;
            if !line.ends_with('\n') {
                return Ok(requests);
            }
            self.position += length as u64;
            if let Ok(request) = serde_json::from_str::<Request>(&line)
                && request.stage == "ResponseComplete"
            {
                requests.push(request);
            }
        }
    }

    /// The operator's, since the last call.
    pub fn of_operator(&mut self) -> Result<Vec<Request>> {
        Ok(self.read()?.into_iter().filter(Request::is_operators).collect())
    }
}

/// Counts writes by what they do, the most frequent first.
pub fn breakdown<'r>(requests: impl Iterator<Item = &'r Request>) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for request in requests {
        *counts.entry(request.kind_of_write()).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}
