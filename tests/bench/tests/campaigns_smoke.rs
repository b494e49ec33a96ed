//! The bench of campaigns at tiny sizes: it comes to its figures, and says of no goal that it is met.

#![allow(clippy::unwrap_used, reason = "in a test, what is not expected ends it")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn campaigns_are_measured_beside_the_peer_and_small_sizes_are_not_judged() {
    let bench = Path::new(env!("CARGO_BIN_EXE_tenantry-bench"));
    let campaigns = bench.with_file_name("campaigns");
    assert!(campaigns.is_file(), "build the service first: cargo build -p campaigns");
    let arguments =
        "campaigns --only position,rebuild --users 1000 --writes 200 --connections 4 --rounds 1 --round-seconds 1 --output json";
    let output = Command::new(bench).args(arguments.split(' ')).env("TENANTRY_CAMPAIGNS_BINARY", campaigns).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let named = |member: &str| -> Vec<(String, Value)> {
        let all = report[member].as_array().unwrap().iter();
        all.map(|one| (one["name"].as_str().unwrap().to_owned(), one["value"].clone())).collect()
    };
    let (figures, goals) = (named("figures"), named("goals"));
    for name in ["position in process: p99 [µs]", "position over HTTP: rate [/s]", "ZREVRANK: rate [/s]"] {
        let value = figures.iter().find(|(figure, _)| figure == name).unwrap_or_else(|| panic!("no {name}: {figures:?}"));
        assert!(value.1.as_f64().unwrap() > 0.0, "{value:?}");
    }
    let judged: Vec<&str> = goals.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(judged, ["rebuild", "position-in-process", "position-over-http"]);
    assert!(goals.iter().all(|(_, value)| value.is_null()), "{goals:?}");
}
