//! Groups that fail, each in its way, hold no other back. How fast the others are, `cargo xtask bench operator` measures.

use std::net::TcpListener;

use serde_json::{Value, json};
use tenantry_crds::{ResourceGroup, ResourceGroupClass};

use super::manifests::{self, pinned};
use super::platform::{ADMIN_SECRET, Platform, eventually, unique};

const GROUPS: usize = 20;
const FAILING: usize = 5;

#[tokio::test]
async fn the_others_get_there_beside_groups_that_fail_in_different_ways() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    // Accepts connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (hanging, full) = (unique("hanging"), unique("full"));
    platform.apply::<ResourceGroupClass>(manifests::class(&hanging, silent.local_addr().unwrap().port(), ADMIN_SECRET)).await;
    let mut offer = manifests::class(&full, platform.postgres.port(), ADMIN_SECRET);
    offer["spec"]["postgres"]["servers"][0]["connectionLimit"] = json!(2);
    platform.apply::<ResourceGroupClass>(offer).await;

    let group = |name: &str, class: &str, release: &str| manifests::group(name, class, vec![pinned("dev", release)]);
    let failing: Vec<(String, Value, &str)> = (0..FAILING)
        .map(|index| {
            let name = unique("fails");
            let (manifest, reason) = match index % 4 {
                0 => (group(&name, &hanging, &release), "PostgresUnreachable"),
                1 => (group(&name, &full, &release), "PostgresServerFull"),
                2 => (group(&name, &class, "no-such-release"), "UnknownRelease"),
                _ => {
                    let mut wrong = group(&name, &class, &release);
                    wrong["spec"]["services"]["ledger"]["settings"] = json!({ "noSuchSetting": 1 });
                    (wrong, "InvalidSettings")
                }
            };
            (name, manifest, reason)
        })
        .collect();
    for (_, manifest, _) in &failing {
        platform.apply::<ResourceGroup>(manifest.clone()).await;
    }
    let healthy: Vec<String> = (FAILING..GROUPS).map(|_| unique("well")).collect();
    for name in &healthy {
        platform.apply::<ResourceGroup>(group(name, &class, &release)).await;
    }
    for name in &healthy {
        platform.wait_until_ready(name).await;
    }
    for (name, _, reason) in &failing {
        eventually(&format!("{name} says {reason}"), async || {
            let conditions = platform.slot(name, "dev").await.and_then(|slot| slot.status).unwrap_or_default().conditions;
            let ready = conditions.iter().find(|condition| condition.type_ == "Ready").ok_or("no condition")?.clone();
            if ready.reason == *reason { Ok(()) } else { Err("another reason") }
        })
        .await;
    }
    for name in healthy.iter().chain(failing.iter().map(|(name, _, _)| name)) {
        platform.delete_group(name).await;
    }
}
