//! Hosts outside of the cluster: a network namespace with a link to the node, which routes to it.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tenantry_harness::network::Network;
use tenantry_harness::node::{Node, eventually};
use tenantry_harness::process::Process;

/// How soon the namespace is there.
const STARTED: Duration = Duration::from_secs(5);

/// A host outside of the cluster. It ends when this is dropped, and its link with it.
pub struct OutsideHost {
    holder: Process,
}

impl OutsideHost {
    /// A host with these addresses of one network with a prefix of 24 bits, whose first address becomes the node's: tests that run beside each
    /// other take different networks.
    pub async fn start(node: &Node, addresses: &[Ipv4Addr]) -> Result<Self> {
        let [a, b, c, _] = addresses.first().context("a host has an address")?.octets();
        let towards = Ipv4Addr::new(a, b, c, 1);
        let holder = Process::spawn(Command::new("unshare").args(["--net", "sleep", "infinity"]))?;
        let own = format!("/proc/{}/ns/net", holder.id());
        let here = std::fs::read_link("/proc/self/ns/net")?;
        eventually("the host outside has a network", STARTED, || async {
            Ok(std::fs::read_link(&own).is_ok_and(|other| other != here).then_some(()))
        })
        .await?;
        let of_node = node.network()?;
        let of_node = of_node.to_str().context("the node's network has no proper name")?;
        let id = holder.id().to_string();
        let link = format!("out{id}");
        let mut steps = vec![
            (of_node, format!("link add {link} type veth peer name eth0 netns {id}")),
            (of_node, format!("address add {towards}/24 dev {link}")),
            (of_node, format!("link set {link} up")),
        ];
        steps.extend(addresses.iter().map(|address| (own.as_str(), format!("address add {address}/24 dev eth0"))));
        steps.extend(["link set lo up", "link set eth0 up"].map(|arguments| (own.as_str(), arguments.to_owned())));
        steps.push((own.as_str(), format!("route add default via {towards}")));
        for (network, arguments) in steps {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={network}")).arg("ip").args(arguments.split(' '));
            let output = command.output()?;
            ensure!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(Self { holder })
    }

    /// Its network.
    pub fn network(&self) -> io::Result<Network> {
        Network::of_process(self.holder.id())
    }

    /// Listens at all of its addresses.
    pub fn listen(&self, port: u16) -> io::Result<TcpListener> {
        self.network()?.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
    }
}
