//! `campaigns import FILE`: reports the purchases of a file to a slot's API, as a person outside of the cluster can. What came of it is on
//! standard output, how far it is on standard error.
//!
//! It sends lines in batches, each once it is known what became of the one before, and notes after each how far it came: killed anywhere, it
//! goes on there when it is run again. What was sent twice counts once, by its event id.

mod client;
mod lines;
mod progress;
mod refusals;
mod run;
mod state;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use http::Uri;
use serde::Serialize;
use tenantry_kit::credentials::{self, CredentialError, Secret};
use tenantry_kit::service::ServiceCommand;

use client::ClientError;
use lines::Format;

/// What the service's binary can do for people.
#[derive(Debug, Subcommand)]
pub enum CampaignsCommand {
    /// Report the purchases of a file to a slot's API
    #[command(after_long_help = HELP)]
    Import(ImportOptions),
}

const TOKEN_VARIABLE: &str = "TENANTRY_TOKEN";

const HELP: &str = "\
File formats:
  ndjson  One purchase on each line, as POST /purchases takes it:
          {\"eventId\":\"order-1\",\"userId\":\"7\",\"itemId\":\"10\",\"amount\":{\"value\":\"12.30\",\"currency\":\"EUR\"},
          \"timestamp\":\"2026-11-22T12:30:00Z\"} (without the line break)
  csv     A header row with the columns eventId, userId, itemId, amount, currency and timestamp, in any order; further
          columns are ignored. RFC 4180, but each record on one line. Example:
          eventId,userId,itemId,amount,currency,timestamp
          order-1,7,10,12.30,EUR,2026-11-22T12:30:00Z

Token:
  --token-file, or else the environment variable TENANTRY_TOKEN.

Refused lines:
  Each is written to the file --refused as one line of JSON, with its line number and the problem. The others are imported.

Interrupted:
  Run the same command again: it goes on where it stopped. How far it came is in FILE.import.json, which is removed at the
  end. Without that file it begins anew, which is safe too: what was imported before counts once.

Exit codes:
  0  every line is imported
  1  not finished: run it again to go on
  2  the command line, the token or the file is wrong: nothing was sent
  3  finished, and some lines were refused";

/// The options of `import`.
#[derive(Debug, Args)]
pub struct ImportOptions {
    /// The file with the purchases
    file: PathBuf,
    /// Where the slot's API is, such as https://api.example.com
    #[arg(long, value_name = "URL")]
    url: Uri,
    /// The file with the token; without it, the environment variable TENANTRY_TOKEN has it
    #[arg(long, value_name = "PATH")]
    token_file: Option<PathBuf>,
    /// The file's format; by default as its name ends, .csv or else ndjson
    #[arg(long)]
    format: Option<Format>,
    /// Where to write the lines that are refused; by default beside FILE, as FILE.refused.ndjson
    #[arg(long, value_name = "PATH")]
    refused: Option<PathBuf>,
    /// Begin anew, whatever an interrupted import has noted
    #[arg(long)]
    restart: bool,
    /// How many lines to send at once
    #[arg(long, value_name = "LINES", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
    /// For how many seconds to go on trying while the API cannot be reached or is overloaded
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u32,
    /// How to print what came of it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A sentence
    Text,
    /// One JSON object
    Json,
}

impl ImportOptions {
    /// A file beside the imported one.
    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.file.clone().into_os_string();
        path.push(ending);
        path.into()
    }

    fn token(&self) -> Result<Secret, ImportError> {
        match &self.token_file {
            Some(path) => Ok(credentials::read(path)?),
            None => match std::env::var(TOKEN_VARIABLE) {
                Ok(token) if !token.is_empty() => Ok(Secret::new(token)),
                _ => Err(ImportError::NoToken),
            },
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.patience.into())
    }
}

/// Why an import was not finished.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("there is no token: name its file with --token-file, or set {TOKEN_VARIABLE}")]
    NoToken,
    #[error("the token cannot be read: {0}")]
    Token(#[from] CredentialError),
    #[error("{} cannot be read: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{} cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{} has no header row with the columns {missing}: see --help", path.display())]
    Columns { path: PathBuf, missing: String },
    #[error("{} tells of an import of another file, or to another URL: finish that one, or pass --restart", path.display())]
    OtherImport { path: PathBuf },
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl ImportError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::NoToken | Self::Token(_) | Self::File { .. } | Self::Columns { .. } | Self::OtherImport { .. } => 2,
            Self::Client(error) if error.is_wrong_command() => 2,
            Self::Write { .. } | Self::Client(_) => 1,
        }
    }
}

/// What came of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    /// Whether the whole file was sent.
    finished: bool,
    /// The line after which this run went on.
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed_after_line: Option<u64>,
    /// The last line that was sent.
    lines: u64,
    /// How many purchases were new, over all runs; so the others.
    accepted: u64,
    /// How many were known already.
    repeated: u64,
    /// How many were refused.
    refused: u64,
    /// Where those are.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_file: Option<PathBuf>,
    /// Why it is not finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Summary {
    fn sentence(&self) -> String {
        let Self { lines, accepted, repeated, refused, .. } = self;
        let mut text = format!("{lines} lines: {accepted} purchases imported, {repeated} known already, {refused} refused");
        if let Some(path) = &self.refused_file {
            text.push_str(&format!(", see {}", path.display()));
        }
        text
    }

    fn print(&self, output: Output) {
        let text = match output {
            Output::Text => self.sentence(),
            Output::Json => serde_json::to_string(self).unwrap_or_else(|error| error.to_string()),
        };
        // nobody is left to be told that standard output is closed
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}

impl ServiceCommand for CampaignsCommand {
    async fn run(self) -> ExitCode {
        let Self::Import(options) = self;
        let mut summary = Summary::default();
        let outcome = run::import(&options, &mut summary).await;
        summary.finished = outcome.is_ok();
        summary.error = outcome.as_ref().err().map(ToString::to_string);
        if outcome.is_ok() || options.output == Output::Json {
            summary.print(options.output);
        }
        match outcome {
            Ok(()) if summary.refused == 0 => ExitCode::SUCCESS,
            Ok(()) => ExitCode::from(3),
            Err(error) => {
                eprintln!("campaigns import: {error}");
                ExitCode::from(error.exit_code())
            }
        }
    }
}
