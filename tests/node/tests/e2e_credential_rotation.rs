//! A rotation of the database's logins that nobody notices but whoever kept a former one.

use std::time::Duration;

use anyhow::{Result, ensure};
use sqlx::{Connection, PgConnection};
use tenantry_harness::node::{Node, eventually};

use crate::api::Api;
use crate::load::{Load, OnFailure};
use crate::{PLATFORM, group};

const NAMESPACE: &str = "rotator-dev";

#[tokio::test]
async fn a_rotation_on_demand_under_load_fails_no_request_and_ends_the_former_login() -> Result<()> {
    let _whole = PLATFORM.read().await;
    let node = Node::of_this_stage()?;
    let release = group::example_release(&node).await?;
    let manifest = group::manifest("rotator", &release);
    node.apply(&manifest).await?;
    node.wait_until_ready("rotator", group::READY).await?;
    let api = Api::of(&node, NAMESPACE).await?;
    api.create_campaign(1, 10).await?;
    let former = login(&node).await?;
    let mut held = connect(&node, &former).await?;

    // 8 clients, two requests each every 250 ms: 64 requests a second
    let load = Load::start(&api, 1, 10, 8, Duration::from_millis(250), OnFailure::Note)?;
    eventually("the load runs", Duration::from_secs(30), || async { Ok((load.requests() > 100).then_some(())) }).await?;
    node.apply(&manifest.replace("  services:", "  credentialRotation: { generation: 1 }\n  services:")).await?;
    eventually("the next login is in use and the former one has ended", group::READY, || async {
        let slot = node.get(NAMESPACE, "slots.tenantry.dev", "dev").await?.unwrap_or_default();
        let ready = group::condition(&slot, "Ready").is_ok_and(|ready| ready["status"] == "True");
        Ok((ready && slot["status"]["services"][0]["credential"]["generation"] == 2).then_some(()))
    })
    .await?;
    load.end_without_failure(&api, 1, "the logins changed").await?;
    ensure!(held.ping().await.is_err(), "a session of the former login is still open");
    ensure!(connect(&node, &former).await.is_err(), "the former login is still accepted");
    let next = login(&node).await?;
    ensure!(next.0.ends_with("_b") && next.1 != former.1, "the pods have the former login");
    connect(&node, &next).await?.close().await?;
    group::delete_without_trace(&node, &["rotator"]).await
}

async fn login(node: &Node) -> Result<(String, String)> {
    let field = async |key: &str| node.secret(NAMESPACE, "campaigns-database", key).await;
    Ok((field("username").await?, field("password").await?))
}

async fn connect(node: &Node, (username, password): &(String, String)) -> Result<PgConnection> {
    group::connect_with(node, (username, password), NAMESPACE).await
}
