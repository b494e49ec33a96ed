//! A service that the operator has never heard of runs by its descriptor.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tenantry_harness::node::Node;

use crate::{PLATFORM, group};

/// Environment variable: path of the greeter's entry for a release, as JSON.
const GREETER_VARIABLE: &str = "TENANTRY_NODE_GREETER";

#[tokio::test]
async fn a_second_service_runs_beside_campaigns_and_goes_again() -> Result<()> {
    let _whole = PLATFORM.read().await;
    let node = Node::of_this_stage()?;
    let path = std::env::var(GREETER_VARIABLE).context("run these tests by `cargo xtask test node`")?;
    let greeter: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    group::derive_release(&node, "with-greeter", |spec| spec["services"]["greeter"] = greeter).await?;

    let with = group::manifest("polite", "with-greeter").replace("  slots:", "    greeter: { settings: { greeting: Servus } }\n  slots:");
    node.apply(&with).await?;
    node.wait_until_ready("polite", group::READY).await?;
    let url = node.service_url("polite-dev", "greeter").await?;
    crate::api::wait_until_routed(&url).await?;
    let answer = reqwest::get(format!("{url}/greeting")).await?;
    ensure!(answer.status().is_success(), "GET /greeting: {}", answer.status());
    ensure!(answer.text().await?.contains("Servus"), "the setting did not reach the service");

    node.apply(&group::manifest("polite", "with-greeter")).await?;
    tenantry_harness::node::eventually("the service is gone", group::READY, || async {
        let left = node.list("deployments,services,pods", "tenantry.dev/group=polite,tenantry.dev/service=greeter").await?;
        Ok(left.is_empty().then_some(()))
    })
    .await?;
    node.wait_until_ready("polite", group::READY).await?;

    group::delete_without_trace(&node, &["polite"]).await?;
    node.kubectl(&["delete", "release.tenantry.dev", "with-greeter", "--timeout=60s"]).await?;
    Ok(())
}
