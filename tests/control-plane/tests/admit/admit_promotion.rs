//! ResourceGroup: how a slot comes to its release.

use serde_json::json;

use super::admit_group::with_slots;
use super::{Stored, accepted, refused};

#[tokio::test]
async fn a_slot_is_pinned_or_promoted_and_never_both() {
    accepted(&with_slots("- { name: dev, size: small, release: v1 }\n- { name: staging, size: small, promoteFrom: dev }")).await;
    refused(
        &with_slots("- { name: dev, size: small, release: v1 }\n- { name: staging, size: small, promoteFrom: dev, release: v1 }"),
        "either pinned (release) or promoted (promoteFrom), never both",
    )
    .await;
}

#[tokio::test]
async fn a_slot_says_what_it_runs() {
    refused(&with_slots("- { name: dev, size: small }"), "say what the slot runs: release pins it").await;
}

#[tokio::test]
async fn an_initial_release_is_for_promoted_slots() {
    accepted(&with_slots(
        "- { name: dev, size: small, release: v1 }\n- { name: staging, size: small, promoteFrom: dev, initialRelease: v1 }",
    ))
    .await;
    refused(
        &with_slots("- { name: dev, size: small, release: v1, initialRelease: v1 }"),
        "initialRelease belongs to a slot with promoteFrom",
    )
    .await;
}

#[tokio::test]
async fn a_slot_is_not_promoted_from_itself() {
    refused(&with_slots("- { name: dev, size: small, promoteFrom: dev }"), "a slot cannot be promoted from itself").await;
}

#[tokio::test]
async fn a_slot_is_promoted_from_one_that_exists() {
    refused(
        &with_slots("- { name: dev, size: small, release: v1 }\n- { name: staging, size: small, promoteFrom: test }"),
        "promoteFrom names a slot that this group does not have",
    )
    .await;
}

#[tokio::test]
async fn a_cycle_of_promotions_is_refused() {
    refused(
        &with_slots("- { name: dev, size: small, promoteFrom: staging }\n- { name: staging, size: small, promoteFrom: dev }"),
        "promoteFrom must name a slot that stands above this one",
    )
    .await;
}

#[tokio::test]
async fn a_slot_is_promoted_from_one_above_it() {
    refused(
        &with_slots("- { name: staging, size: small, promoteFrom: dev }\n- { name: dev, size: small, release: v1 }"),
        "order the slots as revisions move (dev, staging, production)",
    )
    .await;
}

/// Lists that are merged by a key keep the order of whoever applies: a slot put in between stands in between.
#[tokio::test]
async fn a_slot_can_be_put_between_two_others() {
    let two = with_slots("- { name: dev, size: small, release: v1 }\n- { name: production, size: small, promoteFrom: dev }");
    let group = Stored::apply(&two).await;
    let three = two.replace(
        "- { name: production, size: small, promoteFrom: dev }",
        "- { name: staging, size: small, promoteFrom: dev }\n    - { name: production, size: small, promoteFrom: staging }",
    );
    let stored = accepted(&three).await;
    let names: Vec<_> = stored.data["spec"]["slots"].as_array().unwrap().iter().map(|slot| slot["name"].clone()).collect();
    assert_eq!(names, [json!("dev"), json!("staging"), json!("production")]);
    group.delete().await;
}
