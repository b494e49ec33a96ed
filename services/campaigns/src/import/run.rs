//! One import: batch after batch, each noted before the next.

use std::fs::File;

use bytes::Bytes;

use super::client::{ApiClient, Report};
use super::lines::{Format, Lines};
use super::progress::Progress;
use super::refusals::{Refusal, RefusalFile};
use super::state::{Import, State, StateFile};
use super::{ImportError, ImportOptions, Summary};

/// The most that is sent at once, below what the API takes.
const BATCH_BYTES: usize = 3 * 1024 * 1024;

/// Lines that are sent together, and those among them that cannot be.
#[derive(Debug, Default)]
struct Batch {
    body: Vec<u8>,
    /// The numbers of the lines in `body`.
    numbers: Vec<u64>,
    refusals: Vec<Refusal>,
}

pub(super) async fn import(options: &ImportOptions, summary: &mut Summary) -> Result<(), ImportError> {
    let unreadable = |source| ImportError::File { path: options.file.clone(), source };
    let format = options.format.unwrap_or_else(|| Format::of(&options.file));
    let api = ApiClient::new(&options.url, &options.token()?, options.patience())?;
    let file = File::open(&options.file).map_err(unreadable)?;
    let import = Import::of(options, &file, format).map_err(unreadable)?;
    let mut progress = Progress::new(import.bytes());
    let mut lines = Lines::open(&options.file, file, format)?;

    let state_file = StateFile::new(options.beside(".import.json"));
    let left = if options.restart { None } else { state_file.read(&import)? };
    let mut state = match left {
        Some(state) => {
            lines.go_to(state.place).map_err(unreadable)?;
            progress.resume(&state);
            summary.resumed_after_line = Some(state.place.line);
            state
        }
        None => StateFile::begin(import),
    };
    let mut refusals =
        RefusalFile::open(options.refused.clone().unwrap_or_else(|| options.beside(".refused.ndjson")), state.refused_bytes)?;
    tell(summary, &state, &refusals);
    loop {
        let batch = next_batch(&mut lines, options.batch.into()).map_err(unreadable)?;
        if batch.numbers.is_empty() && batch.refusals.is_empty() {
            break;
        }
        let Batch { body, numbers, refusals: mut refused } = batch;
        if !numbers.is_empty() {
            let Report { accepted, repeated, refused: by_the_api } = api.send(Bytes::from(body), &progress).await?;
            state.accepted += accepted;
            state.repeated += repeated;
            refused.extend(by_the_api.into_iter().filter_map(|refused| {
                let line = *numbers.get(refused.line.checked_sub(1)?)?;
                Some(Refusal { line, event_id: refused.event_id, problem: refused.problem })
            }));
            refused.sort_by_key(|refusal| refusal.line);
        }
        state.refused += refused.len() as u64;
        state.refused_bytes += refusals.write(&refused)?;
        state.place = lines.place();
        state_file.write(&state)?;
        progress.show(&state);
        tell(summary, &state, &refusals);
    }
    summary.lines = lines.place().line;
    progress.finish();
    state_file.remove()
}

fn tell(summary: &mut Summary, state: &State, refusals: &RefusalFile) {
    summary.lines = state.place.line;
    summary.accepted = state.accepted;
    summary.repeated = state.repeated;
    summary.refused = state.refused;
    summary.refused_file = refusals.path().map(ToOwned::to_owned);
}

/// Up to `count` lines.
fn next_batch(lines: &mut Lines<File>, count: usize) -> std::io::Result<Batch> {
    let mut batch = Batch::default();
    while batch.numbers.len() + batch.refusals.len() < count && batch.body.len() < BATCH_BYTES {
        let Some(line) = lines.next()? else { break };
        match line.content {
            Ok(purchase) => {
                batch.body.extend_from_slice(&purchase);
                batch.body.push(b'\n');
                batch.numbers.push(line.number);
            }
            Err(detail) => batch.refusals.push(Refusal::unreadable(line.number, &detail)),
        }
    }
    Ok(batch)
}
