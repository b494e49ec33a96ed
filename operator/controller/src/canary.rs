//! What no slot may reach, and what tries to reach it. The operator listens at an address of its own, the canary; a probe's pod
//! in a slot tries to connect there, and the operator to that pod. Both must be refused, each while it is known that the other
//! end listens. Part of observe.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::core::DynamicObject;
use tenantry_plan::{Ingress, PROBE_PORT, probe_pods};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::caches::{Caches, Place, Triggers};
use crate::kinds::POD;

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

/// The attempts to reach the probes' pods that listen.
#[derive(Clone)]
pub struct Attempts {
    canary: SocketAddr,
    caches: Arc<Caches>,
    triggers: Arc<Triggers>,
    by_namespace: Arc<Mutex<HashMap<String, AttemptsInSlot>>>,
}

impl Attempts {
    pub fn new(canary: SocketAddr, caches: Arc<Caches>, triggers: Arc<Triggers>) -> Self {
        Self { canary, caches, triggers, by_namespace: Arc::default() }
    }

    /// Begins attempts as soon as probes listen, until `stop`. They do so for a while only: the slot's own turn may come too late.
    pub async fn follow(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.triggers.probes.wait_for_one() => {}
            }
            let Some(due) = self.triggers.probes.take() else { continue };
            self.in_slot(due.place.namespace(), due.place.name(), &self.pods(due.place.namespace()));
            self.triggers.probes.gone(&due.place);
        }
    }

    /// What came of the attempts in a slot. Begins one where a probe listens; its end wakes the slot.
    pub fn in_slot(&self, namespace: &str, name: &str, live: &[DynamicObject]) -> BTreeMap<String, Ingress> {
        let pods = probe_pods(live);
        let mut by_namespace = self.lock();
        if pods.is_empty() {
            by_namespace.remove(namespace);
            return BTreeMap::new();
        }
        let attempts = by_namespace.entry(namespace.to_owned()).or_default();
        attempts.retain(|known, _| pods.iter().any(|(uid, _)| uid == known));
        for (uid, address) in pods {
            if let (Some(address), Entry::Vacant(attempt)) = (address, attempts.entry(uid.clone())) {
                attempt.insert(None);
                tokio::spawn(self.clone().attempt(Place::new(namespace, name), uid, address));
            }
        }
        attempts.iter().filter_map(|(uid, answer)| Some((uid.clone(), answer.clone()?))).collect()
    }

    async fn attempt(self, slot: Place, uid: String, address: String) {
        let answer = match address.parse::<IpAddr>() {
            Ok(address) => attempt(SocketAddr::new(address, PROBE_PORT), self.canary).await,
            Err(error) => Ingress::CanaryUnreachable(format!("the probe's pod has no address: {error}")),
        };
        // To be refused by a pod that does not listen any more proves nothing.
        let listens = probe_pods(&self.pods(slot.namespace())).iter().any(|(found, address)| *found == uid && address.is_some());
        let mut by_namespace = self.lock();
        if let Some(attempts) = by_namespace.get_mut(slot.namespace())
            && let Some(attempt) = attempts.get_mut(&uid)
        {
            if listens {
                *attempt = Some(answer);
            } else {
                attempts.remove(&uid);
            }
            self.triggers.wake_slot(slot.namespace(), slot.name());
        }
    }

    fn pods(&self, namespace: &str) -> Vec<DynamicObject> {
        self.caches.of(POD).map(|pods| pods.in_namespace(namespace)).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, AttemptsInSlot>> {
        self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner)
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
