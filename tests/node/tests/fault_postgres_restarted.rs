//! PostgreSQL dies under load; what was acknowledged is there, and nothing is there twice.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use tenantry_harness::node::{Node, SYSTEM_NAMESPACE, eventually};

use crate::api::Api;
use crate::load::{Load, OnFailure, USER};
use crate::{PLATFORM, group};

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_postgresql_is_killed_under_load() -> Result<()> {
    let _alone = PLATFORM.write().await;
    let node = Node::of_this_stage()?;
    group::make(&node, "durable").await?;
    let api = Api::of(&node, "durable-dev").await?;
    api.create_campaign(1, 10).await?;

    let load = Load::start(&api, 1, 10, 8, Duration::from_millis(250), OnFailure::Repeat)?;
    eventually("the load runs", Duration::from_secs(30), || async { Ok((load.requests() > 100).then_some(())) }).await?;
    let server = node.get(SYSTEM_NAMESPACE, "pod", "tenantry-postgresql-0").await?.context("no PostgreSQL pod")?;
    node.kill_pod(&server)?;
    eventually("the container was started again", Duration::from_secs(120), || async {
        let now = node.get(SYSTEM_NAMESPACE, "pod", "tenantry-postgresql-0").await?.unwrap_or_default();
        let status = &now["status"]["containerStatuses"][0];
        let before = server["status"]["containerStatuses"][0]["restartCount"].as_u64();
        Ok((status["restartCount"].as_u64() > before && status["ready"] == true).then_some(()))
    })
    .await?;
    let after = load.requests();
    eventually("the load goes on", Duration::from_secs(90), || async { Ok((load.requests() > after + 200).then_some(())) }).await?;
    let (rate, account) = load.stop().await?;

    let acknowledged = account.acknowledged_cents.load(Ordering::Relaxed);
    println!("{acknowledged} purchases acknowledged at {rate:.0} requests a second, {} repeated", account.failures.lock().await.len());
    api.wait_for_total(1, USER, acknowledged).await?;
    node.wait_until_ready("durable", group::READY).await?;
    group::delete_without_trace(&node, &["durable"]).await
}
