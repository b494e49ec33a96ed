//! What can be seen of the operator: its metrics, whose number does not grow with the tenants; the alerts and the dashboard that
//! read them; and its events, of which there are few.

use std::collections::BTreeSet;

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use tenantry_crds::{Release, ResourceGroup, ResourceGroupClass};
use tenantry_harness::control_plane::Audit;
use tenantry_harness::metrics::{expressions_of_chart, names, value};

use super::manifests::{self, pinned};
use super::platform::{ADMIN_SECRET, Platform, eventually, unique};

const GROUPS: usize = 12;

/// Name and labels of each series.
fn series(metrics: &str) -> BTreeSet<&str> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series).collect()
}

#[tokio::test]
async fn metrics_tell_of_every_stage_and_never_of_a_tenant() {
    let platform = Platform::start(Audit::Off).await;
    let operator = platform.start_operator().await;
    let (class, release) = platform.offer(1).await;
    let groups: Vec<String> = (0..GROUPS).map(|_| unique("acme")).collect();
    for group in &groups {
        platform.apply::<ResourceGroup>(manifests::group(group, &class, vec![pinned("dev", &release)])).await;
    }
    let mut uids = Vec::new();
    for group in &groups {
        uids.push(platform.wait_until_ready(group).await.metadata.uid.unwrap());
    }
    platform.apply::<ResourceGroup>(manifests::group(&unique("acme"), "nowhere", vec![pinned("dev", &release)])).await;
    // A server where nothing listens.
    let away = unique("away");
    platform.apply::<ResourceGroupClass>(manifests::class(&away, 1, ADMIN_SECRET)).await;
    let unlucky = unique("acme");
    platform.apply::<ResourceGroup>(manifests::group(&unlucky, &away, vec![pinned("dev", &release)])).await;
    platform.wait_for_slot(&unlucky, "dev", "Reconciling", "True", "PostgresUnreachable").await;
    let metrics = eventually("the gauges follow the statuses", async || {
        let metrics = operator.metrics().await.unwrap();
        let ready = value(&metrics, "tenantry_objects_in_state{kind=\"ResourceGroup\",state=\"ready\"}");
        let unknown = value(&metrics, "tenantry_slot_conditions{condition=\"Stalled\",status=\"True\",reason=\"UnknownClass\"}");
        // What is told of the two slots in trouble is told after it was written down.
        let told = value(&metrics, "tenantry_events_total{kind=\"Slot\"}").unwrap_or_default();
        if (ready, unknown) == (Some(12.0), Some(1.0)) && told >= 2.0 { Ok(metrics) } else { Err(metrics) }
    })
    .await;

    for tenant in groups.iter().chain(&uids) {
        assert!(!metrics.contains(tenant.as_str()), "a tenant is named:\n{metrics}");
    }
    for (series, least) in [
        ("tenantry_queue_seconds_count{kind=\"Slot\"}", 13.0),
        ("tenantry_queue_seconds_count{kind=\"ResourceGroup\"}", 13.0),
        ("tenantry_reconcile_seconds_count{kind=\"Slot\"}", 13.0),
        ("tenantry_track_seconds_count{kind=\"Slot\",track=\"isolation\"}", 13.0),
        ("tenantry_track_seconds_count{kind=\"Slot\",track=\"workloads\"}", 12.0),
        ("tenantry_objects_total{verb=\"apply\",kind=\"Namespace\"}", 13.0),
        ("tenantry_objects_total{verb=\"set-finalizer\",kind=\"ResourceGroup\"}", 13.0),
        ("tenantry_database_step_seconds_count{step=\"create database\"}", 12.0),
        ("tenantry_status_writes_total{kind=\"Slot\"}", 13.0),
        ("tenantry_cache_objects{kind=\"Namespace\"}", 13.0),
        ("tenantry_cache_synced{kind=\"Pod\"}", 1.0),
        ("tenantry_leader", 1.0),
        ("tenantry_errors_total{kind=\"Slot\",reason=\"PostgresUnreachable\"}", 1.0),
        (&format!("tenantry_postgres_reachable{{class=\"{class}\",server=\"main\"}}"), 1.0),
        (&format!("tenantry_postgres_connection_limit{{class=\"{class}\",server=\"main\"}}"), 5000.0),
        (&format!("tenantry_postgres_promised_connections{{class=\"{class}\",server=\"main\"}}"), 12.0 * 10.0),
    ] {
        let found = value(&metrics, series).unwrap_or_else(|| panic!("no {series} in\n{metrics}"));
        assert!(found >= least, "{series} is {found}, not at least {least}");
    }
    assert_eq!(value(&metrics, &format!("tenantry_postgres_reachable{{class=\"{away}\",server=\"main\"}}")), Some(0.0));
    every_query_reads_what_there_is(&metrics);
    // Eighteen series a histogram and set of labels, and not one for a tenant: 14 groups would show.
    let found = series(&metrics);
    eprintln!("{} series with {} groups", found.len(), GROUPS + 2);
    assert!(found.len() < 1000, "{}:\n{metrics}", found.len());
}

/// Every metric that the alerts and the dashboard ask for is one that the operator prints.
fn every_query_reads_what_there_is(metrics: &str) {
    let printed = names(metrics);
    let alerts = expressions_of_chart("alerts.yaml").unwrap();
    let dashboard = expressions_of_chart("dashboard.json").unwrap();
    assert!(alerts.len() > 10 && dashboard.len() > 20, "{} and {} queries", alerts.len(), dashboard.len());
    for query in alerts.iter().chain(&dashboard) {
        let words = query.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        let asked: Vec<&str> = words.filter(|word| word.starts_with("tenantry_")).collect();
        assert!(!asked.is_empty(), "{query} asks for nothing of the operator");
        for name in asked {
            assert!(printed.contains(name), "{query} asks for {name}, which is not among {printed:?}");
        }
    }
}

/// Reasons of the events in a namespace, with how often each is counted.
async fn events(platform: &Platform, namespace: &str) -> Vec<(String, i32)> {
    let api: Api<Event> = Api::namespaced(platform.client().await, namespace);
    let found = api.list(&ListParams::default()).await.unwrap().items;
    let own = found.into_iter().filter(|event| event.reporting_controller.as_deref() == Some("tenantry-operator"));
    own.map(|event| (event.reason.unwrap_or_default(), event.series.map_or(1, |series| series.count))).collect()
}

#[tokio::test]
async fn a_slot_that_fails_for_a_while_and_a_fleet_that_does_not_make_few_events() {
    let platform = Platform::start(Audit::Off).await;
    let operator = platform.start_operator().await;
    let (class, release) = platform.offer(1).await;
    let away = unique("away");
    platform.apply::<ResourceGroupClass>(manifests::class(&away, 1, ADMIN_SECRET)).await;
    // A slot that is planned before the operator has seen its class or release is in trouble for a moment, and says so.
    eventually("the operator has seen both classes and the release", async || {
        let client = platform.client().await;
        let classes: Api<ResourceGroupClass> = Api::all(client.clone());
        let mut seen = Vec::new();
        for name in [&class, &away] {
            seen.extend(classes.get(name).await.unwrap().status.map(|status| status.observed_generation));
        }
        seen.extend(Api::<Release>::all(client).get(&release).await.unwrap().status.map(|status| status.observed_generation));
        (seen == [1, 1, 1]).then_some(()).ok_or(seen)
    })
    .await;
    let unlucky = unique("acme");
    platform.apply::<ResourceGroup>(manifests::group(&unlucky, &away, vec![pinned("dev", &release)])).await;
    let fleet: Vec<String> = (0..20).map(|_| unique("acme")).collect();
    for group in &fleet {
        platform.apply::<ResourceGroup>(manifests::group(group, &class, vec![pinned("dev", &release)])).await;
    }
    for group in &fleet {
        platform.wait_until_ready(group).await;
    }
    eventually("the slot without a server was tried eight times", async || {
        let metrics = operator.metrics().await.unwrap();
        let tried = value(&metrics, "tenantry_errors_total{kind=\"Slot\",reason=\"PostgresUnreachable\"}").unwrap_or_default();
        (tried >= 8.0).then_some(()).ok_or(tried)
    })
    .await;
    assert_eq!(events(&platform, &format!("{unlucky}-dev")).await, [("PostgresUnreachable".to_owned(), 1)]);
    for group in &fleet {
        assert_eq!(events(&platform, &format!("{group}-dev")).await, [], "of a slot that came up without trouble its group tells");
    }
    // Events about what has no namespace are in `default`: of each group that became Ready one, and of two classes and a release.
    let told = events(&platform, "default").await;
    assert!(told.iter().all(|event| *event == ("Ready".to_owned(), 1)) && told.len() == fleet.len() + 3, "{told:?}");
}
