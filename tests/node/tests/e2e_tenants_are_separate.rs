//! Two groups run beside each other, each with its own data, and each one's credentials are of no use in the other.

use anyhow::{Result, ensure};
use tenantry_harness::node::Node;

use crate::api::{Api, purchase};
use crate::{PLATFORM, group};

#[tokio::test]
async fn two_groups_answer_with_their_own_data_and_refuse_each_others_credentials() -> Result<()> {
    let _whole = PLATFORM.read().await;
    let node = Node::of_this_stage()?;
    let release = group::example_release(&node).await?;
    for name in ["north", "south"] {
        node.apply(&group::manifest(name, &release)).await?;
    }
    for name in ["north", "south"] {
        node.wait_until_ready(name, group::READY).await?;
    }
    let north = Api::of(&node, "north-dev").await?;
    let south = Api::of(&node, "south-dev").await?;

    north.create_campaign(1, 10).await?;
    south.create_campaign(1, 10).await?;
    for (api, user, cents) in [(&north, 1, 1_250), (&north, 2, 300), (&south, 3, 999)] {
        let answer = api.post("/purchases", &purchase(&format!("first-{user}"), user, 10, cents)).await?;
        ensure!(answer.status().is_success(), "POST /purchases: {} {}", answer.status(), answer.text().await?);
        api.wait_for_total(1, user, cents).await?;
    }
    let leaders = |body: serde_json::Value| -> Vec<String> {
        let positions = body["records"]["positions"].as_array().cloned().unwrap_or_default();
        positions.iter().filter_map(|position| position["userId"].as_str().map(str::to_owned)).collect()
    };
    let of_north: serde_json::Value = north.get("/records/top/10/1").await?.json().await?;
    let of_south: serde_json::Value = south.get("/records/top/10/1").await?.json().await?;
    assert_eq!(leaders(of_north), ["1", "2"]);
    assert_eq!(leaders(of_south), ["3"]);

    let stranger = north.with_token_of(&south);
    assert_eq!(stranger.get("/records/position/1/1").await?.status(), 401);

    group::connect_as_tenant(&node, "north-dev", "north-dev").await?;
    for (who, whose) in [("north-dev", "south-dev"), ("south-dev", "north-dev"), ("north-dev", "pcasia-dev")] {
        let refused = group::connect_as_tenant(&node, who, whose).await;
        let message = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(message.contains("permission denied for database"), "{who} in the database of {whose}: {message:?}");
    }
    group::delete_without_trace(&node, &["north", "south"]).await
}
