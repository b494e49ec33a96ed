//! What can be seen from outside: every metric that the alerts and the dashboard ask for is one that a process prints, and none names a user or a campaign.

use std::collections::BTreeSet;

use http::Method;
use serde_json::json;
use tenantry_harness::janitor::free_port;
use tenantry_harness::metrics::{expressions_of_chart, names, value};

use crate::api_client::{Client, campaign, purchase};
use crate::fixture::{Slot, eventually};
use crate::rates_model::parked;

const CAMPAIGN: &str = "918273645";
const USER: &str = "546372819";

async fn metrics_on(port: u16) -> String {
    match reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await {
        Ok(response) => response.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    }
}

/// The metrics that an expression asks for: names that are neither functions nor within braces, brackets or a list of labels.
fn asked(expression: &str) -> BTreeSet<String> {
    const WORDS: [&str; 15] = [
        "by",
        "without",
        "on",
        "ignoring",
        "and",
        "or",
        "unless",
        "bool",
        "group_left",
        "group_right",
        "sum",
        "max",
        "min",
        "avg",
        "count",
    ];
    const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
    let (mut names, mut rest, mut last) = (BTreeSet::new(), expression, "");
    while let Some(letter) = rest.chars().next() {
        let skip_to = |end: char| rest.find(end).map_or(rest.len(), |at| at + 1);
        let length = match letter {
            '{' => skip_to('}'),
            '[' => skip_to(']'),
            '(' if LISTS.contains(&last) => skip_to(')'),
            _ if letter.is_ascii_alphabetic() || letter == '_' => {
                let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
                let (word, after) = rest.split_at(length);
                if !WORDS.contains(&word) && !after.trim_start().starts_with('(') {
                    names.insert(word.to_owned());
                }
                last = word;
                rest = after;
                continue;
            }
            // a number, with its unit
            _ if letter.is_ascii_digit() => rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(rest.len()),
            _ => letter.len_utf8(),
        };
        if !letter.is_whitespace() {
            last = "";
        }
        rest = &rest[length..];
    }
    names
}

#[test]
fn the_metrics_of_an_expression_are_found() {
    let of = |expression: &str| asked(expression).into_iter().collect::<Vec<_>>();
    assert_eq!(of("max by (namespace, group) (lag_seconds{group=\"results\"}) > 60"), ["lag_seconds"]);
    assert_eq!(
        of("sum(rate(a_total[5m])) / ignoring (reason) sum by (x)(b_total) > 0.05 and time() - c > 1e3"),
        ["a_total", "b_total", "c"]
    );
}

#[tokio::test]
async fn every_metric_that_alerts_and_dashboard_ask_for_is_printed_and_none_names_a_user_or_a_campaign() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let worker_port = free_port().unwrap();
    let _worker = slot.worker_on(worker_port);
    let client = Client::of(&api);
    client.post("/campaigns", &campaign(Some(CAMPAIGN))).await;
    let of_user = |event: &str, currency: &str| {
        let mut purchase = purchase(event);
        purchase["userId"] = json!(USER);
        purchase["amount"] = json!({ "value": "5.00", "currency": currency });
        purchase
    };
    let taken = of_user("taken", "EUR");
    for body in [taken.clone(), taken, of_user("waits", "USD")] {
        client.post("/purchases", &body).await;
    }
    let mut negative = of_user("negative", "EUR");
    negative["amount"]["value"] = json!("-5.00");
    client.post("/purchases", &negative).await;
    client.post("/purchases", &json!([of_user("in a batch", "EUR"), negative])).await;
    Client::anonymous(&api).get("/status").await;
    eventually("a purchase waits", async || parked(&slot).await == 1).await;
    client.get(&format!("/records/top/10/{CAMPAIGN}")).await;
    client.get(&format!("/records/position/{CAMPAIGN}/{USER}")).await;
    let _viewer = client.stream(client.request(Method::GET, &format!("/leaderboards/{CAMPAIGN}/events"))).await;

    let alerts = expressions_of_chart("alerts-campaigns.yaml").unwrap();
    let dashboard = expressions_of_chart("dashboard-campaigns.json").unwrap();
    assert!(alerts.len() >= 10 && dashboard.len() >= 20, "{} and {} queries", alerts.len(), dashboard.len());
    let wanted: BTreeSet<String> = alerts.iter().chain(&dashboard).flat_map(|query| asked(query)).collect();
    let both = async || metrics_on(api.port).await + &metrics_on(worker_port).await;
    let expected = [
        ("parked_purchases", 1.0),
        ("purchases_accepted_total", 3.0),
        ("purchases_repeated_total", 1.0),
        ("purchases_refused_total{reason=\"invalid-purchase\"}", 2.0),
        ("purchases_per_commit_count", 4.0),
        ("credentials_refused_total{reason=\"missing\"}", 1.0),
        ("standings_answers_total{answer=\"Top\"}", 1.0),
        ("leaderboard_viewers", 1.0),
        ("campaigns_running", 1.0),
        ("lifecycle_events_announced_total", 1.0),
        ("lifecycle_events_overdue", 0.0),
        ("exchange_rate_gaps", 1.0),
        ("campaigns_awaiting_completion{waits_for=\"rates\"}", 0.0),
    ];
    let mut told = BTreeSet::new();
    eventually("every metric is printed, with its value", async || {
        let metrics = both().await;
        let printed = names(&metrics);
        let missing = wanted.iter().filter(|name| !printed.contains(name.as_str())).cloned();
        // What is looked at every few seconds is so at different moments.
        let others = expected.iter().map(|(series, expected)| (series, *expected, value(&metrics, series)));
        let others = others.filter(|(_, expected, found)| *found != Some(*expected));
        let others = others.map(|(series, expected, found)| format!("{series} is {found:?}, not {expected}"));
        let open: BTreeSet<String> = missing.chain(others).collect();
        if open != told {
            eprintln!("not so yet: {open:?}");
            told.clone_from(&open);
        }
        open.is_empty()
    })
    .await;

    let metrics = both().await;
    for id in [CAMPAIGN, USER] {
        assert!(!metrics.contains(id), "an id is a label:\n{metrics}");
    }
}
