//! A service that the operator has never heard of runs by its descriptor, with the cache that it needs.

use anyhow::{Result, ensure};
use serde_json::Value;
use tenantry_harness::node::{Node, eventually};

use crate::{PLATFORM, group};

#[tokio::test]
async fn a_second_service_runs_beside_campaigns_and_goes_again() -> Result<()> {
    let _whole = PLATFORM.read().await;
    let node = Node::of_this_stage()?;
    group::release_with_greeter(&node, "with-greeter").await?;

    node.apply(&group::manifest_with_greeter("polite", "with-greeter")).await?;
    node.wait_until_ready("polite", group::READY).await?;
    let url = node.service_url("polite-dev", "greeter").await?;
    crate::api::wait_until_routed(&url).await?;
    eventually("a greeting comes from the cache", group::READY, || async {
        let answer = reqwest::get(format!("{url}/greeting")).await?;
        ensure!(answer.status().is_success(), "GET /greeting: {}", answer.status());
        let greeting: Value = answer.json().await?;
        ensure!(greeting["greeting"] == "Servus", "the setting did not reach the service: {greeting}");
        Ok((greeting["cached"] == true).then_some(()))
    })
    .await?;

    node.apply(&group::manifest("polite", "with-greeter")).await?;
    eventually("the service and its cache are gone", group::READY, || async {
        let mut left = node.list("deployments,services,pods", "tenantry.dev/group=polite,tenantry.dev/service=greeter").await?;
        left.extend(node.list("statefulsets,deployments,pods", "tenantry.dev/group=polite,tenantry.dev/role=cache").await?);
        Ok(left.is_empty().then_some(()))
    })
    .await?;
    node.wait_until_ready("polite", group::READY).await?;

    group::delete_without_trace(&node, &["polite"]).await?;
    node.kubectl(&["delete", "release.tenantry.dev", "with-greeter", "--timeout=60s"]).await?;
    Ok(())
}
