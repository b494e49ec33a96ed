//! From inside the network of a slot's pods: what policies promise, tried. And what the pods themselves are allowed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tenantry_harness::node::{Node, SYSTEM_NAMESPACE};

use crate::surroundings::{Place, Surroundings, Target, names_resolve, postgres_answers};
use crate::{PLATFORM, group};

/// How soon a changed policy has to be in force.
const PROMISED: Duration = Duration::from_secs(2);
/// The group with two slots, and another one.
const GROUPS: [&str; 2] = ["east", "west"];

#[tokio::test]
async fn from_inside_a_slot_only_the_slot_dns_and_its_database_are_reached() -> Result<()> {
    let _whole = PLATFORM.read().await;
    let node = Node::of_this_stage()?;
    // the greeter needs a cache, so that each slot has one
    let release = "isolated-with-greeter";
    group::release_with_greeter(&node, release).await?;
    let second_slot = format!("    - {{ name: staging, size: small, release: {release} }}\n");
    node.apply(&(group::manifest_with_greeter(GROUPS[0], release) + &second_slot)).await?;
    node.apply(&group::manifest_with_greeter(GROUPS[1], release)).await?;
    for name in GROUPS {
        node.wait_until_ready(name, group::READY).await?;
    }
    let pods = node.list("pods", &format!("tenantry.dev/group in ({})", GROUPS.join(","))).await?;
    let pods: Vec<Value> = pods.into_iter().filter(is_running).collect();
    let places = pods.iter().map(|pod| Place::of_pod(&node, pod)).collect::<Result<Vec<_>>>()?;
    let spoken_for: BTreeSet<_> = places.iter().map(|place| (place.namespace.as_str(), place.role.as_str())).collect();
    for slot in ["east-dev", "east-staging", "west-dev"] {
        for role in ["api", "worker", "cache"] {
            ensure!(spoken_for.contains(&(slot, role)), "no pod {role} in {slot} among {spoken_for:?}");
        }
    }
    let around = Surroundings::of(&node).await?;

    let own = slot_targets(&node, &places).await?;
    let tried = nothing_else_is_reached(&places, &own, &around)?;
    let within = the_slot_dns_and_the_database_are_reached(&places, &own, &around)?;
    let into = nobody_reaches_into_a_slot(&own, &around)?;
    println!("{tried} ways out of slots and {into} ways in refused, {within} ways inside of slots open");
    for pod in &pods {
        a_pod_has_no_power(&node, pod)?;
    }
    a_policy_cuts_what_is_established(&node, &places, &around).await?;
    drop(around);
    group::delete_without_trace(&node, &GROUPS).await?;
    node.kubectl(&["delete", "release.tenantry.dev", release, "--timeout=60s"]).await?;
    Ok(())
}

/// Of a service or the cache: the operator's own probe ends while the test runs.
fn is_running(pod: &Value) -> bool {
    let stays = pod["metadata"]["labels"]["tenantry.dev/role"] != "probe" && pod["metadata"]["deletionTimestamp"].is_null();
    pod["status"]["phase"] == "Running" && stays
}

/// All ports of all slots' pods and Services, each with its slot's namespace. The machine, which no policy binds, reaches
/// them: something listens there.
async fn slot_targets(node: &Node, places: &[Place]) -> Result<Vec<(String, Target)>> {
    let mut targets = Vec::new();
    for place in places {
        ensure!(!place.ports.is_empty(), "{place} declares no port");
        targets.extend(place.targets().map(|target| (place.namespace.clone(), target)));
    }
    for service in node.list("services", &format!("tenantry.dev/group in ({})", GROUPS.join(","))).await? {
        let namespace = service["metadata"]["namespace"].as_str().context("no namespace")?;
        targets.push((namespace.to_owned(), Target::of_service(&service)?));
    }
    for (_, target) in &targets {
        std::net::TcpStream::connect_timeout(&target.address, Duration::from_secs(5))
            .with_context(|| format!("nobody listens at {target}"))?;
    }
    Ok(targets)
}

/// From each pod, to other slots, the node, the API server, the operator, the machine and a host outside.
fn nothing_else_is_reached(places: &[Place], own: &[(String, Target)], around: &Surroundings) -> Result<usize> {
    let mut tried = 0;
    for target in &around.forbidden {
        around.free.reaches(target).with_context(|| format!("{target} is not reached from a pod without policies: this tests nothing"))?;
    }
    for place in places {
        let others = own.iter().filter(|(namespace, _)| *namespace != place.namespace).map(|(_, target)| target);
        for target in others.chain(&around.forbidden) {
            place.is_refused(target)?;
            tried += 1;
        }
    }
    Ok(tried)
}

fn the_slot_dns_and_the_database_are_reached(places: &[Place], own: &[(String, Target)], around: &Surroundings) -> Result<usize> {
    let mut reached = 0;
    for place in places {
        for (_, target) in own.iter().filter(|(namespace, _)| *namespace == place.namespace) {
            place.reaches(target)?;
            reached += 1;
        }
        names_resolve(place, around.dns, &format!("campaigns.{}.svc.cluster.local", place.namespace))?;
        if place.role == "cache" {
            place.is_refused(&around.postgres)?;
        } else {
            ensure!(postgres_answers(&mut place.reaches(&around.postgres)?)?, "{place}: PostgreSQL does not answer");
        }
        reached += 1;
    }
    Ok(reached)
}

/// From pods of the platform, and from outside of the cluster.
fn nobody_reaches_into_a_slot(own: &[(String, Target)], around: &Surroundings) -> Result<usize> {
    let strangers = [&around.free, &around.operator, &around.outside];
    for stranger in strangers {
        for (_, target) in own {
            stranger.is_refused(target)?;
        }
    }
    Ok(strangers.len() * own.len())
}

/// What the pod's specification says, and what its processes are and see.
fn a_pod_has_no_power(node: &Node, pod: &Value) -> Result<()> {
    let name = format!("{}/{}", pod["metadata"]["namespace"], pod["metadata"]["name"]);
    let spec = &pod["spec"];
    ensure!(spec["automountServiceAccountToken"] == false, "{name} asks for a token");
    ensure!(spec["securityContext"]["runAsNonRoot"] == true, "{name} may run as root");
    let init = spec["initContainers"].as_array().into_iter().flatten();
    for container in spec["containers"].as_array().into_iter().flatten().chain(init) {
        let rules = &container["securityContext"];
        ensure!(rules["readOnlyRootFilesystem"] == true && rules["allowPrivilegeEscalation"] == false, "{name}: {rules}");
        ensure!(rules["privileged"] != true && rules["capabilities"]["drop"][0] == "ALL", "{name}: {rules}");
    }
    for pid in node.processes_of(pod)? {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = |field: &str| status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default().to_owned();
        let users: BTreeSet<_> = line("Uid:").split_whitespace().map(str::to_owned).collect();
        ensure!(!users.is_empty() && !users.contains("0"), "{name}: process {pid} runs as {users:?}");
        for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
            ensure!(line(set).trim().chars().all(|digit| digit == '0'), "{name}: process {pid} has {set}{}", line(set));
        }
        ensure!(line("NoNewPrivs:").trim() == "1", "{name}: process {pid} may gain privileges");
        // As root even, through the mounts that the process sees.
        for folder in ["", "etc", "usr", "var"] {
            let file = format!("/proc/{pid}/root/{folder}/written-by-a-test");
            let written = std::fs::write(&file, "x");
            let refused = written
                .as_ref()
                .is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::NotFound));
            if written.is_ok() {
                std::fs::remove_file(&file)?;
            }
            ensure!(refused, "{name}: /{folder} of process {pid}: {written:?}");
        }
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        ensure!(!mounts.contains("serviceaccount"), "{name}: a token is mounted\n{mounts}");
        for path in ["run/secrets/kubernetes.io", "var/run/secrets/kubernetes.io"] {
            let absent = std::fs::symlink_metadata(format!("/proc/{pid}/root/{path}")).is_err();
            ensure!(absent, "{name}: process {pid} sees /{path}");
        }
    }
    Ok(())
}

/// A policy at the database's end that leaves one slot out: a connection from before ends, one of the other slot stays.
async fn a_policy_cuts_what_is_established(node: &Node, places: &[Place], around: &Surroundings) -> Result<()> {
    let worker = |namespace: &str| places.iter().find(|place| place.namespace == namespace && place.role == "worker");
    let (cut, kept) = (worker("east-dev").context("no worker")?, worker("west-dev").context("no worker")?);
    let mut before = cut.reaches(&around.postgres)?;
    let mut of_another = kept.reaches(&around.postgres)?;
    for connection in [&mut before, &mut of_another] {
        ensure!(postgres_answers(connection)?, "PostgreSQL does not answer");
    }
    let policy = format!(
        "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{ name: all-but-one-slot, namespace: {SYSTEM_NAMESPACE} }}
spec:
  podSelector: {{ matchLabels: {{ app.kubernetes.io/component: postgresql }} }}
  policyTypes: [Ingress]
  ingress:
    - from: [{{ namespaceSelector: {{ matchExpressions: [{{ key: kubernetes.io/metadata.name, operator: NotIn, values: [east-dev] }}] }} }}]
"
    );
    node.apply(&policy).await?;
    let outcome = cut_within_the_promise(cut, kept, &mut before, &mut of_another, &around.postgres);
    node.kubectl(&["-n", SYSTEM_NAMESPACE, "delete", "networkpolicy", "all-but-one-slot"]).await?;
    outcome?;
    let lifted = Instant::now();
    while cut.reaches(&around.postgres).is_err() {
        ensure!(lifted.elapsed() < PROMISED, "still refused {PROMISED:?} after the policy went");
    }
    Ok(())
}

fn cut_within_the_promise(
    cut: &Place,
    kept: &Place,
    before: &mut std::net::TcpStream,
    of_another: &mut std::net::TcpStream,
    postgres: &Target,
) -> Result<()> {
    let changed = Instant::now();
    while cut.is_refused(postgres).is_err() {
        ensure!(changed.elapsed() < PROMISED, "a new connection still passes after {PROMISED:?}");
    }
    println!("a policy was in force {:?} after kubectl returned", changed.elapsed());
    ensure!(!postgres_answers(before).unwrap_or(false), "a connection from before the policy still works");
    ensure!(postgres_answers(of_another)?, "a connection that is allowed was cut");
    kept.reaches(postgres).map(drop)
}
