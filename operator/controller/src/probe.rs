//! The probe: runs in a pod of a slot and says whether the slot's network policies are enforced there. It must not reach the
//! operator's canary, and must resolve names, which the policies allow: a network that is dead is not isolated. Refused, it
//! listens, which makes its pod ready, for the operator to be refused in its turn. Its last words go into the pod's status.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tenantry_plan::PROBE_REACHED;
use tokio::net::{TcpListener, lookup_host};
use tokio::time::{Instant, sleep, timeout};

use crate::canary::gets_through;

/// The name of the API server, which every cluster's DNS knows; it is resolved, not connected to.
const KNOWN_NAME: &str = "kubernetes.default.svc";
/// DNS may be slow at first; the network of a new pod, too.
const DNS_DEADLINE: Duration = Duration::from_secs(20);
const DNS_PAUSE: Duration = Duration::from_millis(500);
/// How long the operator is given to be refused.
const LISTENS_FOR: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Args)]
pub struct ProbeOptions {
    /// What must not be reached.
    #[arg(long)]
    pub canary: SocketAddr,
    /// Where the operator is to be refused.
    #[arg(long)]
    pub listen_port: u16,
}

/// Probes; the exit code says what was found.
pub async fn run(options: ProbeOptions) -> ExitCode {
    match probe(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(Found::Reached) => {
            eprintln!("a pod of the slot reached the operator at {}", options.canary);
            ExitCode::from(u8::try_from(PROBE_REACHED).unwrap_or(u8::MAX))
        }
        Err(Found::Dead(why)) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

enum Found {
    /// The canary.
    Reached,
    /// Nothing at all, so that nothing is proven.
    Dead(String),
}

async fn probe(options: &ProbeOptions) -> Result<(), Found> {
    resolve().await?;
    if gets_through(options.canary).await {
        return Err(Found::Reached);
    }
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, options.listen_port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, options.listen_port))
            .await
            .map_err(|error| Found::Dead(format!("listening on port {}: {error}", options.listen_port)))?,
    };
    let accept = async {
        loop {
            drop(listener.accept().await);
        }
    };
    // It must stay refused.
    let stays_refused = async {
        let until = Instant::now() + LISTENS_FOR;
        while Instant::now() < until {
            sleep(Duration::from_secs(1)).await;
            if gets_through(options.canary).await {
                return Err(Found::Reached);
            }
        }
        Ok(())
    };
    tokio::select! {
        () = accept => Ok(()),
        ended = stays_refused => ended,
    }
}

async fn resolve() -> Result<(), Found> {
    let until = Instant::now() + DNS_DEADLINE;
    loop {
        let why = match timeout(DNS_DEADLINE, lookup_host((KNOWN_NAME, 443))).await {
            Ok(Ok(addresses)) => match addresses.count() {
                0 => "no address".to_owned(),
                _ => return Ok(()),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() >= until {
            return Err(Found::Dead(format!(
                "a pod of the slot cannot resolve {KNOWN_NAME} ({why}), and a network that is dead proves nothing: the cluster's DNS has to \
                 run in kube-system, in pods labelled k8s-app=kube-dns"
            )));
        }
        sleep(DNS_PAUSE).await;
    }
}
