//! What is bounded, and what the operator says when it cannot go on: work at the same time, connections, metrics' labels; a
//! reconcile that is stuck; a master key that is lost.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use sqlx::{Connection, Row};
use tenantry_crds::ResourceGroup;
use tenantry_harness::control_plane::Audit;
use tenantry_harness::operator::NAMESPACE;

use super::manifests::{self, pinned};
use super::platform::{Platform, eventually, unique};

const GROUPS: usize = 12;

#[tokio::test]
async fn reconciles_connections_and_labels_are_bounded_however_many_groups_there_are() {
    let platform = Platform::start(Audit::Off).await;
    let (workers, connections) = (4.0, 3);
    let operator =
        platform.start_operator_with_own(&["--workers=4", "--postgres-connections=3", "--secret-interval=10", "--lease-duration=30"]).await;
    let (class, release) = platform.offer(1).await;
    let first = unique("acme");
    platform.apply::<ResourceGroup>(manifests::group(&first, &class, vec![pinned("dev", &release)])).await;
    platform.wait_until_ready(&first).await;
    platform.delete_group(&first).await;
    platform.wait_until_gone(&first, &["dev"]).await;
    let series_of_one = series(&operator.metrics().await.unwrap());

    let names: Vec<String> = (0..GROUPS).map(|_| unique("acme")).collect();
    for name in &names {
        platform.apply::<ResourceGroup>(manifests::group(name, &class, vec![pinned("dev", &release)])).await;
    }
    let mut superuser = platform.postgres.connect().await.unwrap();
    let (mut most_working, mut most_sessions, begun) = (0.0_f64, 0_i64, Instant::now());
    // Groups, classes and releases have a quarter each.
    let allowed = workers + 3.0;
    loop {
        let metrics = operator.metrics().await.unwrap();
        let working = metrics.lines().find_map(|line| line.strip_prefix("tenantry_reconciles_working ")).unwrap();
        most_working = most_working.max(working.trim().parse().unwrap());
        let sessions =
            sqlx::query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tenantry-operator' AND datname = 'postgres'");
        most_sessions = most_sessions.max(sessions.fetch_one(&mut superuser).await.unwrap().get(0));
        let mut ready = 0;
        for name in &names {
            let status = platform.group(name).await.unwrap().status.unwrap_or_default();
            ready += usize::from(super::platform::has(&status.conditions, "Ready", "True"));
        }
        if ready == names.len() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(240), "{ready} of {GROUPS} groups are Ready");
    }
    superuser.close().await.unwrap();
    eprintln!("{GROUPS} groups Ready in {:?}: at most {most_working} reconciles and {most_sessions} sessions", begun.elapsed());
    assert!(most_working <= allowed, "{most_working} reconciles at the same time");
    assert!(most_sessions <= connections, "{most_sessions} sessions");
    let metrics = operator.metrics().await.unwrap();
    for name in &names {
        assert!(!metrics.contains(name.as_str()), "a metric is labelled with a tenant's name: {metrics}");
    }
    let further: Vec<_> = series(&metrics).difference(&series_of_one).cloned().collect();
    assert!(further.len() < 10, "series grew with the groups: {further:#?}");
}

/// The names and labels of all metrics, without those of histograms' buckets.
fn series(metrics: &str) -> BTreeSet<String> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket"));
    lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

#[tokio::test]
async fn a_reconcile_that_is_stuck_makes_livez_fail_and_nothing_else_wait() {
    let platform = Platform::start(Audit::Off).await;
    let (mut operator, mut gate) = platform.start_gated_operator(&["--stuck-after=2"]);
    operator.wait_until_ready().await.unwrap();
    let (class, release) = platform.offer(1).await;
    let [stuck, other] = ["stuck", "other"].map(unique);
    for name in [&stuck, &other] {
        platform.apply::<ResourceGroup>(manifests::group(name, &class, vec![pinned("dev", &release)])).await;
    }
    let mut held = Vec::new();
    let ready = platform.wait_until_ready(&other);
    tokio::pin!(ready);
    loop {
        tokio::select! {
            _ = &mut ready => break,
            step = gate.next() => {
                let step = step.unwrap();
                if step.moment.step == "apply ResourceQuota" && step.moment.object.starts_with(&stuck) {
                    held.push(step);
                } else {
                    step.go().await.unwrap();
                }
            }
        }
    }
    assert_eq!(held.len(), 1);
    eventually("livez fails", async || {
        let answer = operator.probe("livez").await;
        (answer == Some(500)).then_some(()).ok_or(answer)
    })
    .await;
    for step in held {
        step.go().await.unwrap();
    }
    {
        let healed = eventually("livez is well again", async || {
            let answer = operator.probe("livez").await;
            (answer == Some(200)).then_some(()).ok_or(answer)
        });
        tokio::pin!(healed);
        loop {
            tokio::select! {
                () = &mut healed => break,
                step = gate.next() => step.unwrap().go().await.unwrap(),
            }
        }
    }
    assert!(operator.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn a_lost_master_key_stops_changes_and_nothing_that_runs_and_is_never_replaced() {
    let platform = Platform::start(Audit::Off).await;
    let operator = platform.start_operator().await;
    let (class, release) = platform.offer(1).await;
    let (name, _) = platform.ready_group(&class, &release).await;
    assert!(operator.stop().await.unwrap().success());
    let secrets: Api<Secret> = Api::namespaced(platform.client().await, NAMESPACE);
    let mut key = secrets.get("tenantry-master-key").await.unwrap();
    secrets.delete("tenantry-master-key", &DeleteParams::default()).await.unwrap();
    let before = super::end_state::managed(&platform.client().await, &name).await.len();

    let _operator = platform.start_operator().await;
    let message = platform.wait_for_slot(&name, "dev", "DataServicesReady", "False", "MasterKeyMissing").await;
    assert!(message.contains("tenantry-master-key") && message.contains("backup"), "{message}");
    assert_eq!(super::end_state::managed(&platform.client().await, &name).await.len(), before, "what is there stays");
    assert!(secrets.get_opt("tenantry-master-key").await.unwrap().is_none(), "another key would lock every tenant out");
    // A group that is new waits too, and one that goes may go.
    let further = unique("acme");
    platform.apply::<ResourceGroup>(manifests::group(&further, &class, vec![pinned("dev", &release)])).await;
    platform.wait_for_slot(&further, "dev", "DataServicesReady", "False", "MasterKeyMissing").await;

    key.metadata.resource_version = None;
    key.metadata.uid = None;
    key.metadata.managed_fields = None;
    secrets.create(&PostParams::default(), &key).await.unwrap();
    platform.wait_until_ready(&name).await;
    platform.wait_until_ready(&further).await;
}
