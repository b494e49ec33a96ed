//! The operator says that a slot is isolated because a probe was refused on this very network, and cleans up after it; and where
//! one got through, it says that.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tenantry_harness::node::{Node, eventually};

use crate::group::condition;
use crate::{PLATFORM, group};

const PROBE: &str = "tenantry.dev/role=probe,tenantry.dev/group=walled";

#[tokio::test]
async fn a_slot_is_isolated_by_a_probe_that_leaves_nothing_behind() -> Result<()> {
    let _whole = PLATFORM.read().await;
    let node = Node::of_this_stage()?;
    group::make(&node, "walled").await?;
    let slot = node.get("walled-dev", "slots.tenantry.dev", "dev").await?.context("no slot")?;
    // The example's class requires it: Ready has waited for it.
    let isolated = condition(&slot, "NetworkIsolated")?;
    ensure!(isolated["status"] == "True" && isolated["reason"] == "NetworkRefuses", "{isolated}");
    ensure!(slot["status"]["network"]["result"] == "Isolated", "{}", slot["status"]["network"]);
    // Its time over now, and not in some minutes.
    for job in node.list("jobs", PROBE).await? {
        let name = job["metadata"]["name"].as_str().context("no name")?;
        node.kubectl(&["-n", "walled-dev", "patch", "job", name, "--type=merge", "-p", r#"{"spec":{"ttlSecondsAfterFinished":0}}"#])
            .await?;
    }
    eventually("the probe is gone", Duration::from_secs(120), || async {
        let left = node.list("jobs,pods", PROBE).await?;
        Ok(left.is_empty().then_some(()))
    })
    .await?;
    group::delete_without_trace(&node, &["walled"]).await
}

#[tokio::test]
async fn a_slot_on_a_network_that_does_not_enforce_is_told_so_and_is_not_ready() -> Result<()> {
    let _whole = PLATFORM.read().await;
    let node = Node::of_this_stage()?;
    let release = group::example_release(&node).await?;
    // The node's agent heeds no policy in namespaces of such names.
    node.apply(&group::manifest("unenforced", &release)).await?;
    let slot = eventually("the slot's network is said to be open and its pods run", group::READY, || async {
        let Some(slot) = node.get("unenforced-dev", "slots.tenantry.dev", "dev").await? else { return Ok(None) };
        let has = |kind: &str, status: &str| condition(&slot, kind).is_ok_and(|condition| condition["status"] == status);
        ensure!(!has("NetworkIsolated", "True") && !has("Ready", "True"), "{}", slot["status"]["conditions"]);
        Ok((has("NetworkIsolated", "False") && has("WorkloadsReady", "True")).then_some(slot))
    })
    .await?;
    for kind in ["NetworkIsolated", "Stalled"] {
        let told = condition(&slot, kind)?;
        ensure!(told["reason"] == "NetworkNotIsolated", "{told}");
        ensure!(told["message"].as_str().is_some_and(|message| message.contains("Install a network plugin")), "{told}");
    }
    println!("{}", condition(&slot, "NetworkIsolated")?["message"]);
    group::delete_without_trace(&node, &["unenforced"]).await
}
