//! Tokens of the issuer that a group names: they let users see their own position through the slot's API, are nothing in another group, and end with
//! their key.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use serde_json::Value;
use tenantry_harness::issuer::{Algorithm, Issuer, SigningKey};
use tenantry_harness::node::{Node, eventually};

use crate::api::{Api, purchase};
use crate::load::{Load, OnFailure};
use crate::{PLATFORM, group};

const SCOPE: &str = "records:read";
/// The user that the issuers' tokens name.
const USER: i64 = 7;

#[tokio::test]
async fn an_issuers_token_reads_the_own_position_in_its_group_alone_and_ends_with_its_key() -> Result<()> {
    let _whole = PLATFORM.read().await;
    let node = Node::of_this_stage()?;
    let release = group::example_release(&node).await?;
    let mut ours = Issuer::new("https://login.ours.example", Algorithm::ES256)?;
    let theirs = Issuer::new("https://login.theirs.example", Algorithm::EdDSA)?;
    for (name, issuer) in [("ours", &ours), ("theirs", &theirs)] {
        node.apply(&manifest(name, &release, issuer)?).await?;
    }
    for name in ["ours", "theirs"] {
        node.wait_until_ready(name, group::READY).await?;
    }
    let (api, their_api) = (Api::of(&node, "ours-dev").await?, Api::of(&node, "theirs-dev").await?);
    for api in [&api, &their_api] {
        api.create_campaign(1, 10).await?;
    }
    for (user, cents) in [(USER, 1_250), (8, 2_000)] {
        let answer = api.post("/purchases", &purchase(&format!("first-{user}"), user, 10, cents)).await?;
        ensure!(answer.status().is_success(), "POST /purchases: {} {}", answer.status(), answer.text().await?);
        api.wait_for_total(1, user, cents).await?;
    }

    let token = ours.token(SCOPE)?;
    let user = api.with_token(&token);
    let own: Value = user.get(&format!("/records/position/1/{USER}")).await?.json().await?;
    assert_eq!((&own["record"]["userId"], &own["record"]["position"]), (&"7".into(), &1.into()), "{own}");
    let mut events = user.get("/leaderboards/1/positions/own/events").await?;
    let first = first_event(&mut events).await?;
    ensure!(first.contains("event: position") && first.contains(r#""userId":"7""#), "the first event is {first:?}");
    assert_eq!(user.get("/records/position/1/8").await?.status(), StatusCode::FORBIDDEN);
    assert_eq!(user.post("/purchases", &purchase("own", USER, 10, 1)).await?.status(), StatusCode::FORBIDDEN);

    let stranger = theirs.token(SCOPE)?;
    assert_eq!(their_api.with_token(&stranger).get(&format!("/records/position/1/{USER}")).await?.status(), StatusCode::NOT_FOUND);
    assert_eq!(api.with_token(&stranger).get(&format!("/records/position/1/{USER}")).await?.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(their_api.with_token(&token).get(&format!("/records/position/1/{USER}")).await?.status(), StatusCode::UNAUTHORIZED);

    // As after a theft: the next key stands in the place of the former one.
    let load = Load::start(&api, 1, 11, 8, Duration::from_millis(250), OnFailure::Note)?;
    eventually("the load runs", Duration::from_secs(30), || async { Ok((load.requests() > 100).then_some(())) }).await?;
    ours.key = SigningKey::new("second", Algorithm::ES256)?;
    node.apply(&manifest("ours", &release, &ours)?).await?;
    let next = api.with_token(&ours.token(SCOPE)?);
    eventually("the next key is known, and the former one is not any more", group::READY, || async {
        let status =
            async |api: &Api| -> Result<StatusCode> { Ok(api.with_connections(false)?.get("/records/position/1/7").await?.status()) };
        Ok((status(&next).await? == StatusCode::OK && status(&user).await? == StatusCode::UNAUTHORIZED).then_some(()))
    })
    .await?;
    node.wait_until_ready("ours", group::READY).await?;
    let (rate, account) = load.stop().await?;
    crate::load::ensure_no_failure(&account).await?;
    println!("no request of {rate:.0} a second failed while the key changed");
    group::delete_without_trace(&node, &["ours", "theirs"]).await
}

fn manifest(name: &str, release: &str, issuer: &Issuer) -> Result<String> {
    // JSON is YAML too.
    Ok(format!("{}  auth: {}\n", group::manifest(name, release), issuer.auth()?))
}

async fn first_event(answer: &mut reqwest::Response) -> Result<String> {
    ensure!(answer.status().is_success(), "the events are answered with {}", answer.status());
    let mut text = String::new();
    while !text.contains("data: ") {
        let chunk = tokio::time::timeout(Duration::from_secs(30), answer.chunk()).await.context("no event came")??;
        text.push_str(std::str::from_utf8(&chunk.context("the events ended")?)?);
    }
    Ok(text)
}
