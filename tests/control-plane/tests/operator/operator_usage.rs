//! A class or release in use cannot be deleted.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::DeleteParams;
use tenantry_crds::{Release, ResourceGroupClass};

use super::platform::{Platform, eventually};

/// Whether the conditions name that user as what is in the way.
fn in_use(conditions: &[Condition], user: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.reason == "InUse" && condition.message.contains(user))
}

#[tokio::test]
async fn a_class_and_a_release_in_use_stay_until_they_are_used_no_more() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let (name, _) = platform.ready_group(&class, &release).await;
    let classes: Api<ResourceGroupClass> = Api::all(platform.client().await);
    let releases: Api<Release> = Api::all(platform.client().await);
    classes.delete(&class, &DeleteParams::default()).await.unwrap();
    releases.delete(&release, &DeleteParams::default()).await.unwrap();
    eventually("both say what blocks their deletion", async || {
        let class = classes.get(&class).await.unwrap().status.unwrap_or_default();
        let release = releases.get(&release).await.unwrap().status.unwrap_or_default();
        let blocked = in_use(&class.conditions, &name) && in_use(&release.conditions, &format!("{name}-dev"));
        let counted = class.groups == 1 && release.slots == 1;
        (blocked && counted).then_some(()).ok_or_else(|| format!("{class:?} {release:?}"))
    })
    .await;
    platform.delete_group(&name).await;
    platform.wait_until_gone(&name, &["dev"]).await;
    eventually("both go", async || {
        let left = (classes.get_opt(&class).await.unwrap(), releases.get_opt(&release).await.unwrap());
        (left.0.is_none() && left.1.is_none()).then_some(()).ok_or(left)
    })
    .await;
}
