//! The operator dies in the middle of its work; what it left half done is finished by the next one.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tenantry_harness::node::{Node, SYSTEM_NAMESPACE, eventually};

use crate::{PLATFORM, group};

#[tokio::test]
async fn a_group_is_made_and_torn_down_although_the_operator_is_killed_in_the_middle() -> Result<()> {
    let _alone = PLATFORM.write().await;
    let node = Node::of_this_stage()?;
    let release = group::example_release(&node).await?;
    node.apply(&group::manifest("phoenix", &release)).await?;
    eventually("the slot is half made", Duration::from_secs(60), || async {
        Ok(node.get("phoenix-dev", "secret", "campaigns-database").await?.map(|_| ()))
    })
    .await?;
    node.kill_pod(&leader(&node).await?)?;
    node.wait_until_ready("phoenix", group::READY).await?;

    node.kubectl(&["delete", "resourcegroup.tenantry.dev", "phoenix", "--wait=false"]).await?;
    eventually("the slot is half gone", Duration::from_secs(60), || async {
        let deployments = node.list("deployments", "tenantry.dev/group=phoenix").await?;
        let terminating = deployments.iter().any(|deployment| !deployment["metadata"]["deletionTimestamp"].is_null());
        Ok((terminating || deployments.is_empty()).then_some(()))
    })
    .await?;
    node.kill_pod(&leader(&node).await?)?;
    group::delete_without_trace(&node, &["phoenix"]).await
}

/// The pod that holds the operator's Lease.
async fn leader(node: &Node) -> Result<Value> {
    eventually("an operator leads", Duration::from_secs(90), || async {
        let leases = node.kubectl(&["-n", SYSTEM_NAMESPACE, "get", "leases", "-o", "json"]).await?;
        let leases: Value = serde_json::from_str(&leases)?;
        let pods = node.kubectl(&["-n", SYSTEM_NAMESPACE, "get", "pods", "-o", "json"]).await?;
        let pods: Value = serde_json::from_str(&pods)?;
        let holders: Vec<&str> =
            leases["items"].as_array().context("no leases")?.iter().filter_map(|lease| lease["spec"]["holderIdentity"].as_str()).collect();
        let pods = pods["items"].as_array().context("no pods")?;
        Ok(pods.iter().find(|pod| pod["metadata"]["name"].as_str().is_some_and(|name| holders.contains(&name))).cloned())
    })
    .await
}
