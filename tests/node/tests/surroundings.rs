//! What is around a slot: places to connect from, and targets that are or are not to be reached from inside of it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tenantry_harness::network::Network;
use tenantry_harness::node::{Node, SYSTEM_NAMESPACE};

use crate::outside::OutsideHost;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// The host outside of the cluster, in a network for documentation (RFC 5737).
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const PORT_OUTSIDE: u16 = 8080;
const KUBELET: u16 = 10_250;

/// Where a connection leads.
pub struct Target {
    what: String,
    pub address: SocketAddr,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.what, self.address)
    }
}

impl Target {
    pub fn new(what: &str, address: &str, port: u16) -> Result<Self> {
        Ok(Self { what: what.to_owned(), address: socket(address, port)? })
    }

    /// A Service by its address and first port.
    pub fn of_service(service: &Value) -> Result<Self> {
        let what = format!("Service {} of {}", service["metadata"]["name"], service["metadata"]["namespace"]);
        let port = service["spec"]["ports"][0]["port"].as_u64().context("no port")?;
        Self::new(&what, service["spec"]["clusterIP"].as_str().context("no clusterIP")?, u16::try_from(port)?)
    }
}

/// Where a connection comes from.
pub struct Place {
    pub namespace: String,
    /// A pod's role in its slot, or what else it is.
    pub role: String,
    pub ports: Vec<u16>,
    address: String,
    network: Network,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} in {}", self.role, self.namespace)
    }
}

impl Place {
    /// Inside the network of a running pod.
    pub fn of_pod(node: &Node, pod: &Value) -> Result<Self> {
        let processes = node.processes_of(pod)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
        Ok(Self {
            namespace: text(&pod["metadata"]["namespace"]),
            role: pod["metadata"]["labels"]["tenantry.dev/role"].as_str().map_or_else(|| text(&pod["metadata"]["name"]), str::to_owned),
            ports: ports
                .filter(|port| port["protocol"] == "TCP")
                .filter_map(|port| port["containerPort"].as_u64()?.try_into().ok())
                .collect(),
            address: text(&pod["status"]["podIP"]),
            network: Network::of_process(processes[0])?,
        })
    }

    /// The first running pod that a selector finds.
    pub async fn first(node: &Node, selector: &str) -> Result<Self> {
        let pods = node.list("pods", selector).await?;
        let running = pods.iter().find(|pod| pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null());
        Self::of_pod(node, running.with_context(|| format!("no pod {selector}"))?)
    }

    /// The pod's own ports.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        self.ports.iter().filter_map(|port| Target::new(&self.to_string(), &self.address, *port).ok())
    }

    /// Connects.
    pub fn reaches(&self, target: &Target) -> Result<TcpStream> {
        self.network.connect(target.address).with_context(|| format!("{self} does not reach {target}"))
    }

    /// Fails unless a connection is refused, and that at once: a client is told.
    pub fn is_refused(&self, target: &Target) -> Result<()> {
        match self.network.connect(target.address) {
            Ok(_) => bail!("{self} reaches {target}"),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => bail!("{self} is not told that {target} is refused"),
            Err(_) => Ok(()),
        }
    }
}

/// What is around all slots. The host outside goes when this is dropped.
pub struct Surroundings {
    /// All that no pod of a slot may reach.
    pub forbidden: Vec<Target>,
    pub postgres: Target,
    pub dns: SocketAddr,
    /// A pod that no policy selects: CoreDNS.
    pub free: Place,
    pub operator: Place,
    pub outside: Place,
    _machine: TcpListener,
    _listener: TcpListener,
    _host: OutsideHost,
}

impl Surroundings {
    /// Finds what is there, and makes what is not: a host outside, and a program of the machine.
    pub async fn of(node: &Node) -> Result<Self> {
        let addresses =
            node.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}"]).await?;
        let node_address = addresses.trim();
        let block = node_address.strip_suffix(".255.2").context("the node's address is not as its README says")?;
        let machine = TcpListener::bind("0.0.0.0:0")?;
        let (api_server, _) = node.service_address("default", "kubernetes").await?;
        let free = Place::first(node, "k8s-app=kube-dns").await?;
        let operator = Place::first(node, "app.kubernetes.io/name=tenantry,app.kubernetes.io/component=operator").await?;
        let (postgres, postgres_port) = node.service_address(SYSTEM_NAMESPACE, "tenantry-postgresql").await?;
        let (dns, _) = node.service_address("kube-system", "kube-dns").await?;
        let outside = OutsideHost::start(node, &[OUTSIDE]).await?;
        let listener = outside.listen(PORT_OUTSIDE)?;
        let mut forbidden = vec![
            Target::new("the API server's Service", &api_server, 443)?,
            Target::new("the API server", node_address, 6443)?,
            Target::new("kubelet", node_address, KUBELET)?,
            Target::new("kubelet by the pods' gateway", &format!("{block}.0.1"), KUBELET)?,
            Target::new("a program of the machine", &format!("{block}.255.1"), machine.local_addr()?.port())?,
            Target::new("a host outside", &OUTSIDE.to_string(), PORT_OUTSIDE)?,
            Target::new("CoreDNS's health", &free.address, 8080)?,
        ];
        ensure!(!operator.ports.is_empty(), "the operator declares no port");
        forbidden.extend(operator.targets());
        Ok(Self {
            forbidden,
            postgres: Target::new("PostgreSQL", &postgres, postgres_port)?,
            dns: socket(&dns, 53)?,
            free,
            operator,
            outside: Place {
                namespace: "no cluster".to_owned(),
                role: "a host outside".to_owned(),
                ports: vec![PORT_OUTSIDE],
                address: OUTSIDE.to_string(),
                network: outside.network()?,
            },
            _machine: machine,
            _listener: listener,
            _host: outside,
        })
    }
}

/// Whether PostgreSQL still answers, here to the question for encryption (and to a repeated one with an error).
pub fn postgres_answers(connection: &mut TcpStream) -> io::Result<bool> {
    connection.set_read_timeout(Some(ANSWER))?;
    connection.write_all(&[0, 0, 0, 8, 4, 210, 22, 47])?;
    Ok(connection.read(&mut [0; 1])? == 1)
}

/// What an HTTP server answers at a path, head and body.
pub fn http_get(from: &Place, server: &Target, path: &str) -> Result<String> {
    let mut connection = from.reaches(server)?;
    connection.set_read_timeout(Some(ANSWER))?;
    write!(connection, "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", server.address)?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).with_context(|| format!("{from} gets no answer of {server}"))?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{from} gets of {server}: {answer}");
    Ok(answer)
}

/// Asks a name server for a name's address, by UDP.
pub fn names_resolve(from: &Place, server: SocketAddr, name: &str) -> Result<()> {
    // RFC 1035, 4.1: an id, "recursion desired", one question: type A, class IN.
    let mut question = vec![0x7e, 0x4a, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len())?);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let mut answer = [0; 512];
    let length = from
        .network
        .run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(ANSWER))?;
            socket.connect(server)?;
            socket.send(&question)?;
            socket.recv(&mut answer)
        })
        .with_context(|| format!("{from} does not reach DNS"))?;
    let answers = u16::from_be_bytes([answer[6], answer[7]]);
    ensure!(length > question.len() && answer[..2] == question[..2] && answers > 0, "{from}: DNS does not know {name}");
    Ok(())
}

fn socket(address: &str, port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(address.parse().with_context(|| format!("{address:?} is no address"))?, port))
}
