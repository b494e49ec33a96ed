//! `campaigns import`, as the binary that people run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tenantry_harness::janitor::free_port;
use tenantry_harness::process::Process;

use crate::api_client::{in_seconds, purchase};
use crate::fixture::{Api, Slot, TOKEN, eventually};

struct Import {
    directory: tempfile::TempDir,
    file: PathBuf,
    url: String,
}

impl Import {
    fn new(api: &Api, name: &str, content: impl AsRef<[u8]>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(name);
        std::fs::write(&file, content).unwrap();
        std::fs::write(directory.path().join("token"), format!("{TOKEN}\n")).unwrap();
        Self { directory, file, url: format!("http://127.0.0.1:{}", api.port) }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        PathBuf::from(format!("{}{ending}", self.file.display()))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_campaigns"));
        command.arg("import").arg(&self.file).args(["--url", &self.url, "--output", "json"]).args(arguments);
        command.arg("--token-file").arg(self.directory.path().join("token"));
        command
    }

    /// Runs it to its end; the exit code and what it printed.
    async fn run(&self, arguments: &[&str]) -> (i32, Value) {
        finish(self.command(arguments)).await
    }

    fn refused(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.beside(".refused.ndjson")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

async fn finish(mut command: Command) -> (i32, Value) {
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let summary = serde_json::from_slice(&stdout)
        .unwrap_or_else(|_| Value::String(format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))));
    (status.code().unwrap_or(-1), summary)
}

fn lines(count: usize) -> String {
    (0..count).map(|number| format!("{}\n", purchase(&format!("event-{number}")))).collect()
}

async fn stored(slot: &Slot) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM purchases").fetch_one(&mut slot.test.connect().await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_file_of_lines_is_imported_and_again_without_counting_twice() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let import = Import::new(&api, "purchases.ndjson", lines(2500));
    let (code, summary) = import.run(&[]).await;
    let expected =
        |accepted, repeated| json!({ "finished": true, "lines": 2500, "accepted": accepted, "repeated": repeated, "refused": 0 });
    assert_eq!((code, summary), (0, expected(2500, 0)));
    assert_eq!(import.run(&["--batch", "10000"]).await, (0, expected(0, 2500)));
    assert_eq!(stored(&slot).await, 2500);
    assert!(!import.beside(".import.json").exists() && !import.beside(".refused.ndjson").exists());
}

#[tokio::test]
async fn a_csv_file_is_imported() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let text = format!(
        "amount,currency,eventId,userId,itemId,timestamp\n12.30,EUR,order-1,7,10,{time}\n1.00,EUR,\"order, 2\",8,11,{time}\n",
        time = in_seconds(-5)
    );
    let import = Import::new(&api, "purchases.csv", text);
    let (code, summary) = import.run(&[]).await;
    assert_eq!((code, &summary["accepted"]), (0, &json!(2)), "{summary}");
    let events = slot.events("purchase_events").await;
    let second = events.iter().find(|event| event["eventId"] == "order, 2").unwrap();
    assert_eq!((&second["userId"], &second["amount"]), (&json!("8"), &json!({ "value": "1.00", "currency": "EUR" })));
}

#[tokio::test]
async fn refused_lines_are_reported_with_their_numbers_and_the_others_imported() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let mut text: Vec<String> = lines(300).lines().map(str::to_owned).collect();
    text[6] = "not json".to_owned();
    text[7] = String::new();
    text[250] = purchase("free").to_string().replace("12.30", "0.00");
    text[299] = "x".repeat(100_000);
    let import = Import::new(&api, "purchases.ndjson", text.join("\n"));
    let (code, summary) = import.run(&["--batch", "100"]).await;
    assert_eq!((code, &summary["accepted"], &summary["refused"]), (3, &json!(296), &json!(3)), "{summary}");
    let refused = import.refused();
    let shown: Vec<(u64, &str)> = refused
        .iter()
        .map(|refusal| (refusal["line"].as_u64().unwrap(), refusal["problem"]["type"].as_str().unwrap().rsplit(':').next().unwrap()))
        .collect();
    assert_eq!(shown, [(7, "malformed-json"), (251, "invalid-purchase"), (300, "unreadable-line")]);
    assert_eq!(refused[1]["eventId"], "free");
    assert_eq!(summary["refusedFile"].as_str().map(Path::new), Some(import.beside(".refused.ndjson").as_path()));
}

#[tokio::test]
async fn an_import_that_was_killed_goes_on_where_it_stopped() {
    const LINES: usize = 4000;
    let slot = Slot::new().await;
    let api = slot.api().await;
    // every 100th line is refused, so that the report of refused lines must come out right too
    let text: String = (0..LINES)
        .map(|number| match number % 100 {
            0 => "{}\n".to_owned(),
            _ => format!("{}\n", purchase(&format!("event-{number}"))),
        })
        .collect();
    let import = Import::new(&api, "purchases.ndjson", text);
    let state = import.beside(".import.json");
    let mut kills = 0;
    for _ in 0..3 {
        let before = std::fs::read(&state).unwrap_or_default();
        let mut process = Process::spawn(import.command(&["--batch", "20"]).stdout(Stdio::null())).unwrap();
        eventually("it has noted how far it came, or has ended", async || {
            std::fs::read(&state).is_ok_and(|now| now != before) || process.try_wait().unwrap().is_some()
        })
        .await;
        if process.try_wait().unwrap().is_none() {
            process.kill().unwrap();
            kills += 1;
        }
    }
    assert!(kills > 0 && state.exists(), "it was too fast to be killed");
    let (code, summary) = import.run(&[]).await;
    assert_eq!(code, 3, "{summary}");
    assert!(summary["resumedAfterLine"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!((&summary["lines"], &summary["refused"]), (&json!(LINES), &json!(LINES / 100)));
    let of_purchases = summary["accepted"].as_u64().unwrap() + summary["repeated"].as_u64().unwrap();
    assert_eq!(of_purchases, (LINES - LINES / 100) as u64);
    assert_eq!(stored(&slot).await, (LINES - LINES / 100) as i64);
    let numbers: Vec<u64> = import.refused().iter().map(|refusal| refusal["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..LINES as u64).step_by(100).map(|number| number + 1).collect::<Vec<_>>());
    assert!(!state.exists());
}

#[tokio::test]
async fn an_api_that_comes_back_is_waited_for_and_one_that_does_not_is_given_up() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let mut import = Import::new(&api, "purchases.ndjson", lines(10));
    let port = free_port().unwrap();
    import.url = format!("http://127.0.0.1:{port}/");
    let (code, summary) = import.run(&["--patience", "0"]).await;
    assert_eq!((code, &summary["finished"]), (1, &json!(false)), "{summary}");
    assert!(summary["error"].as_str().unwrap().contains("run the same command again"), "{summary}");
    let waiting = tokio::spawn(finish(import.command(&[])));
    let _later = slot.api_on(port);
    let (code, summary) = waiting.await.unwrap();
    assert_eq!((code, &summary["accepted"]), (0, &json!(10)), "{summary}");
}

#[tokio::test]
async fn what_is_wrong_with_the_command_is_said_before_anything_is_sent() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let import = Import::new(&api, "purchases.csv", "eventId,userId\n1,2\n");
    let (code, summary) = import.run(&[]).await;
    assert_eq!(code, 2);
    assert!(summary["error"].as_str().unwrap().contains("itemId, amount, currency, timestamp"), "{summary}");

    let import = Import::new(&api, "purchases.ndjson", lines(1));
    std::fs::remove_file(import.directory.path().join("token")).unwrap();
    assert_eq!(import.run(&[]).await.0, 2);
    std::fs::write(import.directory.path().join("token"), "wrong").unwrap();
    let (code, summary) = import.run(&[]).await;
    assert_eq!(code, 1);
    assert!(summary["error"].as_str().unwrap().contains("refused the token"), "{summary}");
    assert!(!summary["error"].as_str().unwrap().contains("wrong"), "a token is never shown");
    std::fs::write(import.beside(".import.json"), "{}").unwrap();
    let (code, summary) = import.run(&[]).await;
    assert_eq!(code, 2);
    assert!(summary["error"].as_str().unwrap().contains("--restart"), "{summary}");
    assert_eq!(stored(&slot).await, 0);
}
