//! The pods that a class names as the platform's monitoring read the metrics of its slots, and nobody else does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tenantry_harness::node::{Node, eventually};

use crate::surroundings::{Place, Target, http_get};
use crate::{PLATFORM, group};

const GROUP: &str = "scraped";
const CLASS: &str = "with-monitoring";
/// The namespace that the class names, and another one.
const NAMESPACES: [&str; 2] = ["scrapers", "scrapers-elsewhere"];
/// On all pods of this test.
const TEST_LABEL: &str = "tenantry-test=monitoring";
/// A metric of each role of campaigns.
const METRICS: [(&str, &str); 2] = [("api", "purchases_accepted_total"), ("worker", "campaigns_running")];

/// An image that the node has is started meanwhile, and a changed policy is in force.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_pods_that_a_class_names_read_the_metrics_of_its_slots_until_it_names_them_no_more() -> Result<()> {
    let _whole = PLATFORM.read().await;
    let node = Node::of_this_stage()?;
    let monitoring = json!({ "namespace": NAMESPACES[0], "podLabels": { "app": "scraper" } });
    group::derive_class(&node, CLASS, |spec| spec["network"]["monitoring"] = monitoring).await?;
    node.apply(&group::manifest(GROUP, &group::example_release(&node).await?).replace("name: standard", &format!("name: {CLASS}"))).await?;
    start_scrapers(&node).await?;
    node.wait_until_ready(GROUP, group::READY).await?;
    let [named, unlabelled, elsewhere] =
        [scraper(&node, "named").await?, scraper(&node, "unlabelled").await?, scraper(&node, "elsewhere").await?];

    let mut targets = Vec::new();
    for (role, metric) in METRICS {
        let target = metrics_of(&node, role).await?;
        eventually("the named pod reads the metrics", SOON, || async {
            let answer = http_get(&named, &target, "/metrics")?;
            ensure!(answer.lines().any(|line| line.starts_with(&format!("{metric} "))), "no {metric} in {answer}");
            Ok(Some(()))
        })
        .await?;
        for stranger in [&unlabelled, &elsewhere] {
            stranger.is_refused(&target)?;
        }
        targets.push(target);
    }

    group::derive_class(&node, CLASS, |_| {}).await?;
    for target in &targets {
        eventually("the pod that was named is refused", SOON, || async { named.is_refused(target).map(Some) }).await?;
    }

    group::delete_without_trace(&node, &[GROUP]).await?;
    node.kubectl(&["delete", "resourcegroupclass.tenantry.dev", CLASS, "--timeout=60s"]).await?;
    node.kubectl(&["delete", "namespace", NAMESPACES[0], NAMESPACES[1], "--timeout=60s"]).await?;
    Ok(())
}

/// One pod that the class names, and two that differ from it, each by its labels or by its namespace.
async fn start_scrapers(node: &Node) -> Result<()> {
    let class = node.get("default", "resourcegroupclasses.tenantry.dev", CLASS).await?.context("no class")?;
    // On the node already, small, and it stays.
    let image = class["spec"]["cache"]["image"].as_str().context("no image of the cache")?;
    let mut objects: Vec<Value> =
        NAMESPACES.iter().map(|name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })).collect();
    for (name, namespace, app) in
        [("named", NAMESPACES[0], "scraper"), ("unlabelled", NAMESPACES[0], "other"), ("elsewhere", NAMESPACES[1], "scraper")]
    {
        let (key, value) = TEST_LABEL.split_once('=').context("no label")?;
        objects.push(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": namespace, "labels": { "app": app, key: value } },
            "spec": {
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 1,
                "containers": [{ "name": "idle", "image": image, "args": ["--save", ""], "resources": { "requests": { "cpu": "1m", "memory": "8Mi" } } }],
            },
        }));
    }
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string();
    // A namespace takes pods once it has got its account.
    eventually("the scrapers are made", SOON, || async { node.apply(&list).await.map(Some) }).await?;
    let timeout = format!("--timeout={}s", group::READY.as_secs());
    node.kubectl(&["wait", "--for=condition=Ready", "pod", "-A", "-l", TEST_LABEL, &timeout]).await?;
    Ok(())
}

async fn scraper(node: &Node, name: &str) -> Result<Place> {
    let pods = node.list("pods", TEST_LABEL).await?;
    Place::of_pod(node, pods.iter().find(|pod| pod["metadata"]["name"] == name).with_context(|| format!("no pod {name}"))?)
}

/// The one port of the pod of a role.
async fn metrics_of(node: &Node, role: &str) -> Result<Target> {
    let pod = Place::first(node, &format!("tenantry.dev/group={GROUP},tenantry.dev/role={role}")).await?;
    let mut targets: Vec<Target> = pod.targets().collect();
    ensure!(targets.len() == 1, "{pod} has {} ports", targets.len());
    targets.pop().context("no port")
}
