//! A prize is paid from inside of a slot: by a webhook to a host outside that the class offers, signed with keys that an owner made as a Secret.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::Sha256;
use tenantry_harness::node::{Node, eventually};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::api::{Api, purchase};
use crate::group::condition;
use crate::outside::OutsideHost;
use crate::surroundings::{Place, Target};
use crate::{PLATFORM, group};

const GROUP: &str = "paying";
const NAMESPACE: &str = "paying-dev";
const CLASS: &str = "with-a-way-out";
const SECRET: &str = "prizes";
const WORKER: &str = "tenantry.dev/group=paying,tenantry.dev/service=campaigns,tenantry.dev/role=worker";
const API: &str = "tenantry.dev/group=paying,tenantry.dev/service=campaigns,tenantry.dev/role=api";

/// Another network for documentation (RFC 5737) than that of other tests.
const RECEIVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const NOT_OFFERED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 11);
const PORT: u16 = 8080;
const PORT_NOT_OFFERED: u16 = 8081;

/// The operator looks for a tenant's Secrets once a minute, and then its pod comes up.
const TAKEN_UP: Duration = Duration::from_secs(180);
/// Kubelet brings a mounted Secret up to date within about a minute.
const MOUNTED: Duration = Duration::from_secs(120);
/// A campaign is completed a minute after its end.
const PAID: Duration = Duration::from_secs(150);

#[tokio::test]
async fn a_prize_is_paid_to_where_the_class_allows_with_the_keys_of_an_owner() -> Result<()> {
    let _whole = PLATFORM.read().await;
    let node = Node::of_this_stage()?;
    let outside = OutsideHost::start(&node, &[RECEIVER, NOT_OFFERED]).await?;
    let _other_port = outside.listen(PORT_NOT_OFFERED)?;
    let receiver = Receiver::start(&outside)?;
    let way_out = json!([{ "name": "payments", "cidrs": [format!("{RECEIVER}/32")], "ports": [PORT] }]);
    group::derive_class(&node, CLASS, |spec| spec["network"]["egress"] = way_out).await?;
    node.apply(&manifest(&group::example_release(&node).await?)?).await?;

    let slot = eventually("the slot lacks a credential", group::READY, || async {
        let slot = node.get(NAMESPACE, "slots.tenantry.dev", "dev").await?.context("no slot")?;
        let lacks = condition(&slot, "Stalled")?["reason"] == "CredentialMissing";
        Ok(lacks.then_some(slot))
    })
    .await?;
    let message = &condition(&slot, "Stalled")?["message"];
    ensure!(message.as_str().is_some_and(|message| message.contains(SECRET) && message.contains("tenantry.dev/user-secret")), "{message}");
    for selector in [API, WORKER] {
        eventually("the pods run all the same", group::READY, || async { Ok(ready_pod(&node, selector).await?.map(drop)) }).await?;
    }

    let [first, second] = [(); 2].map(|()| rand::random::<Key>());
    an_owner_writes_only_secrets_of_the_own(&node).await?;
    as_owner(&node, &["create", "-f", "-"], Some(&secret(&[("key", &first)]))).await?;
    eventually("the key is taken up", TAKEN_UP, || async {
        let Some(pod) = ready_pod(&node, WORKER).await? else { return Ok(None) };
        Ok((mounted(&node, &pod, "key")? == text(&first)).then_some(()))
    })
    .await?;
    node.wait_until_ready(GROUP, TAKEN_UP).await?;
    let pod = ready_pod(&node, WORKER).await?.context("no worker")?;

    as_owner(&node, &["replace", "-f", "-"], Some(&secret(&[("key", &second), ("previous-key", &first)]))).await?;
    eventually("the next key reaches the pod", MOUNTED, || async {
        let has = |file: &str, key: &Key| Ok::<_, anyhow::Error>(mounted(&node, &pod, file)? == text(key));
        Ok((has("key", &second)? && has("previous-key", &first)?).then_some(()))
    })
    .await?;
    nothing_else_is_reached(&node, &pod).await?;

    let api = Api::of(&node, NAMESPACE).await?;
    api.create_campaign_that_ends(1, 10, SignedDuration::from_secs(10)).await?;
    let answer = api.post("/purchases", &purchase("first", 7, 10, 1_250)).await?;
    ensure!(answer.status().is_success(), "POST /purchases: {} {}", answer.status(), answer.text().await?);
    let winner = eventually("the winner is paid", PAID, || async {
        let body: Value = api.get("/campaigns/1/winners").await?.json().await?;
        let winner = &body["winners"][0];
        ensure!(winner["payment"]["state"] == "paid", "the answer is {body}");
        Ok(Some(winner.clone()))
    })
    .await?;

    let requests = receiver.requests().await;
    ensure!(requests.len() == 1, "the receiver was sent {} requests", requests.len());
    let (headers, body) = &requests[0];
    for key in [&first, &second] {
        ensure!(is_signed_with(key, headers, body)?, "not signed with both keys: {headers:?}");
    }
    ensure!(!is_signed_with(&rand::random::<Key>(), headers, body)?, "any key verifies");
    let prize: Value = serde_json::from_slice(body)?;
    assert_eq!(
        (&prize["type"], &prize["data"]["prize"]),
        (&json!("prize.won"), &json!({ "value": "500.00", "currency": "EUR" })),
        "{prize}"
    );
    for (field, expected) in [("group", GROUP), ("slot", "dev"), ("campaignId", "1"), ("userId", "7")] {
        assert_eq!(prize["data"][field], expected, "{prize}");
    }
    assert_eq!((&prize["data"]["paymentId"], &winner["userId"]), (&winner["payment"]["id"], &json!("7")));
    let after = ready_pod(&node, WORKER).await?.context("no worker")?;
    assert_eq!(pod["metadata"]["uid"], after["metadata"]["uid"], "the worker was rolled for a key that changed");

    group::delete_without_trace(&node, &[GROUP]).await?;
    node.kubectl(&["delete", "resourcegroupclass.tenantry.dev", CLASS, "--timeout=60s"]).await?;
    Ok(())
}

fn manifest(release: &str) -> Result<String> {
    let mut group: Value = serde_yaml_ng::from_str(&group::manifest(GROUP, release))?;
    group["spec"]["classRef"]["name"] = CLASS.into();
    group["spec"]["services"]["campaigns"] = json!({
        "credentials": { "webhook": { "secretName": SECRET } },
        "settings": {
            "baseCurrency": "EUR",
            "latePurchaseGraceSeconds": 0,
            "prizeWebhook": { "url": format!("http://{RECEIVER}:{PORT}/prizes") },
        },
    });
    Ok(group.to_string())
}

type Key = [u8; 32];

/// As a receiver is told it.
fn text(key: &Key) -> String {
    format!("whsec_{}", BASE64.encode(key))
}

fn secret(entries: &[(&str, &Key)]) -> String {
    let entries: serde_json::Map<_, _> = entries.iter().map(|(name, key)| ((*name).to_owned(), text(key).into())).collect();
    let metadata = json!({ "name": SECRET, "namespace": NAMESPACE, "labels": { "tenantry.dev/user-secret": "" } });
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": entries }).to_string()
}

/// kubectl by one of the group's owners, as the API server knows him: by his groups.
async fn as_owner(node: &Node, arguments: &[&str], input: Option<&str>) -> Result<String> {
    let who = ["--as=ada", "--as-group=paying-developers", "--as-group=system:authenticated"];
    node.kubectl_with(&[arguments, &who[..]].concat(), input).await
}

async fn an_owner_writes_only_secrets_of_the_own(node: &Node) -> Result<()> {
    let unlabelled = ["create", "secret", "generic", SECRET, "--from-literal=key=x", "-n", NAMESPACE];
    let own_secret = ["get", "secret", "campaigns-database", "-n", NAMESPACE];
    for (arguments, why) in [(&unlabelled[..], "with the label tenantry.dev/user-secret"), (&own_secret[..], "cannot get resource")] {
        match as_owner(node, arguments, None).await {
            Ok(said) => bail!("an owner may {arguments:?}: {said}"),
            Err(error) => ensure!(error.to_string().contains(why), "refused for another reason than {why:?}: {error}"),
        }
    }
    Ok(())
}

/// The one pod of a selector that is there to stay, once it is ready.
async fn ready_pod(node: &Node, selector: &str) -> Result<Option<Value>> {
    let mut pods = node.list("pods", selector).await?;
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let is_ready = |pod: &Value| condition(pod, "Ready").is_ok_and(|condition| condition["status"] == "True");
    Ok(pods.pop().filter(|pod| pods.is_empty() && is_ready(pod)))
}

/// A file of the credential, as the pod's own process sees it; empty when there is none.
fn mounted(node: &Node, pod: &Value, file: &str) -> Result<String> {
    let process = node.processes_of(pod)?[0];
    let path = format!("/proc/{process}/root/etc/tenantry/credentials/webhook/{file}");
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.with_context(|| format!("cannot read {path}")),
    }
}

/// Of the host outside, the worker reaches the address and the port that the class offers; the API's pod reaches nothing.
async fn nothing_else_is_reached(node: &Node, worker: &Value) -> Result<()> {
    let free = Place::first(node, "k8s-app=kube-dns").await?;
    let (worker, api) = (Place::of_pod(node, worker)?, Place::first(node, API).await?);
    let offered = Target::new("the receiver", &RECEIVER.to_string(), PORT)?;
    let others = [
        Target::new("another port", &RECEIVER.to_string(), PORT_NOT_OFFERED)?,
        Target::new("another address", &NOT_OFFERED.to_string(), PORT)?,
    ];
    for target in others.iter().chain([&offered]) {
        free.reaches(target).context("it is not reached from a pod without policies: this tests nothing")?;
    }
    worker.reaches(&offered)?;
    api.is_refused(&offered)?;
    others.iter().try_for_each(|target| worker.is_refused(target))
}

type Request = (HeaderMap, Bytes);

/// A server on a host outside that takes what it is sent.
struct Receiver {
    requests: Arc<Mutex<Vec<Request>>>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Receiver {
    fn start(host: &OutsideHost) -> Result<Self> {
        let listener = host.listen(PORT)?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        let take = move |headers: HeaderMap, body: Bytes| {
            let kept = Arc::clone(&kept);
            async move {
                kept.lock().await.push((headers, body));
                StatusCode::NO_CONTENT
            }
        };
        let server = tokio::spawn(axum::serve(listener, Router::new().fallback(take)).into_future());
        Ok(Self { requests, server })
    }

    async fn requests(&self) -> Vec<Request> {
        self.requests.lock().await.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Whether one of a request's signatures is by that key, as Standard Webhooks says.
fn is_signed_with(key: &Key, headers: &HeaderMap, body: &[u8]) -> Result<bool> {
    let header = |name: &str| -> Result<&str> { Ok(headers.get(name).with_context(|| format!("no {name}"))?.to_str()?) };
    let signed = [header("webhook-id")?.as_bytes(), b".", header("webhook-timestamp")?.as_bytes(), b".", body].concat();
    for signature in header("webhook-signature")?.split(' ') {
        let code = BASE64.decode(signature.strip_prefix("v1,").context("a signature of another version")?.as_bytes())?;
        let mac = Hmac::<Sha256>::new_from_slice(key)?.chain_update(&signed);
        if mac.verify_slice(&code).is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}
