//! What no slot may reach, and what tries to reach it. The operator listens at an address of its own, the canary; a probe's pod
//! in a slot tries to connect there, and the operator to that pod. Both must be refused, each while it is known that the other
//! end listens. Part of observe.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::core::DynamicObject;
use tenantry_crds::Slot;
use tenantry_plan::{Ingress, PROBE_PORT, ready_probes};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::caches::Triggers;

/// How long one attempt to connect may take. A network that drops what it forbids lets every attempt take so long.
const ATTEMPT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);
/// How long a network plugin may take until its rules hold for a pod that is new.
const GRACE: Duration = Duration::from_secs(10);
/// Refusals in a row that count as one.
const REFUSALS: u32 = 2;

/// Accepts whatever comes and closes it, until `shutdown`.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, shutdown: CancellationToken) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            // One connection that fails says nothing of the next.
            accepted = listener.accept() => drop(accepted),
        }
    }
}

/// Tries until it is refused several times in a row, for as long as a network may need to learn its rules; gives whether it got
/// through to the end.
pub async fn gets_through(address: SocketAddr) -> bool {
    let began = Instant::now();
    let mut refused = 0;
    while refused < REFUSALS {
        match timeout(ATTEMPT, TcpStream::connect(address)).await {
            Ok(Ok(_)) if began.elapsed() >= GRACE => return true,
            Ok(Ok(_)) => refused = 0,
            Ok(Err(_)) | Err(_) => refused += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}

/// What came of the attempts in a slot so far, by the pods' UIDs: more than one where operators lead at once by mistake.
type AttemptsInSlot = BTreeMap<String, Option<Ingress>>;

/// The attempts to reach the probes' pods that are ready.
pub struct Attempts {
    canary: SocketAddr,
    triggers: Arc<Triggers>,
    by_namespace: Arc<Mutex<HashMap<String, AttemptsInSlot>>>,
}

impl Attempts {
    pub fn new(canary: SocketAddr, triggers: Arc<Triggers>) -> Self {
        Self { canary, triggers, by_namespace: Arc::default() }
    }

    /// What came of the attempts in a slot. Begins one where a probe has become ready; its end wakes the slot.
    pub fn in_slot(&self, slot: &Slot, live: &[DynamicObject]) -> BTreeMap<String, Ingress> {
        let namespace = slot.namespace().unwrap_or_default();
        let ready = ready_probes(live);
        let mut by_namespace = self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.is_empty() {
            by_namespace.remove(&namespace);
            return BTreeMap::new();
        }
        let attempts = by_namespace.entry(namespace).or_default();
        attempts.retain(|pod_uid, _| ready.iter().any(|(uid, _)| uid == pod_uid));
        for (pod_uid, address) in ready {
            if let Entry::Vacant(attempt) = attempts.entry(pod_uid.clone()) {
                attempt.insert(None);
                self.begin(slot, pod_uid, &address);
            }
        }
        attempts.iter().filter_map(|(pod_uid, answer)| Some((pod_uid.clone(), answer.clone()?))).collect()
    }

    fn begin(&self, slot: &Slot, pod_uid: String, address: &str) {
        let (canary, by_namespace, triggers) = (self.canary, Arc::clone(&self.by_namespace), Arc::clone(&self.triggers));
        let (namespace, name) = (slot.namespace().unwrap_or_default(), slot.name_any());
        let address: Result<IpAddr, _> = address.parse();
        tokio::spawn(async move {
            let answer = match address {
                Ok(address) => attempt(SocketAddr::new(address, PROBE_PORT), canary).await,
                Err(error) => Ingress::CanaryUnreachable(format!("the probe's pod has no address: {error}")),
            };
            let mut by_namespace = by_namespace.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(attempt) = by_namespace.get_mut(&namespace).and_then(|attempts| attempts.get_mut(&pod_uid)) {
                *attempt = Some(answer);
                triggers.wake_slot(&namespace, &name);
            }
        });
    }
}

async fn attempt(pod: SocketAddr, canary: SocketAddr) -> Ingress {
    match timeout(ATTEMPT, TcpStream::connect(canary)).await {
        Ok(Ok(_)) if gets_through(pod).await => Ingress::Reached(pod.to_string()),
        Ok(Ok(_)) => Ingress::Refused,
        _ => Ingress::CanaryUnreachable(format!(
            "the operator does not reach its own address {canary}, so that a slot which does not either proves nothing"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_listens_is_reached_and_who_does_not_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(!gets_through(gone).await);
        let began = Instant::now();
        assert!(gets_through(there).await);
        assert!(began.elapsed() >= GRACE, "rules may come late");
    }

    #[tokio::test]
    async fn an_operator_that_does_not_reach_itself_proves_nothing() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(matches!(attempt(gone, gone).await, Ingress::CanaryUnreachable(_)));
    }
}
