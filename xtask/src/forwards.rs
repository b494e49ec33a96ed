//! The way from loopback into slots, until there is a gateway: one supervised port-forward for each API.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cluster::ClusterProgram;
use crate::files;
use crate::kubernetes::Kubernetes;
use crate::process;
use crate::progress::Stage;
use crate::readiness::ReadySlot;
use crate::release::Release;

/// The first port that is tried.
const FIRST_PORT: u16 = 18080;
const PID_FILE: &str = "forward.pid";
const DEADLINE: Duration = Duration::from_secs(180);
const INTERVAL: Duration = Duration::from_millis(250);
const TIMEOUT: Duration = Duration::from_secs(3);

/// One address of this machine that leads to a Service: a rule of `tenantry-cluster forward`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// `127.0.0.1:PORT`.
    pub listen: SocketAddr,
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// Its port.
    pub port: u16,
}

impl Forward {
    /// What to put into a browser.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    fn key(&self) -> (String, String) {
        (self.namespace.clone(), self.service.clone())
    }
}

/// One forward for each API in the slots. A port once given stays.
pub fn plan(slots: &[ReadySlot], release: &Release, previous: &[Forward], is_free: &dyn Fn(u16) -> bool) -> Result<Vec<Forward>> {
    let known: BTreeMap<_, _> = previous.iter().map(|forward| (forward.key(), forward.listen.port())).collect();
    let mut taken: BTreeSet<u16> = known.values().copied().collect();
    let mut forwards = Vec::new();
    for slot in slots {
        for service in &slot.services {
            let Some(port) = release.api_port(service) else {
                continue;
            };
            let key = (slot.namespace.clone(), service.clone());
            let local_port = match known.get(&key) {
                Some(port) => *port,
                None => next_port(&mut taken, is_free)?,
            };
            forwards.push(Forward {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, local_port)),
                namespace: slot.namespace.clone(),
                service: service.clone(),
                port,
            });
        }
    }
    Ok(forwards)
}

fn next_port(taken: &mut BTreeSet<u16>, is_free: &dyn Fn(u16) -> bool) -> Result<u16> {
    for port in FIRST_PORT..FIRST_PORT + 1000 {
        if !taken.contains(&port) && is_free(port) {
            taken.insert(port);
            return Ok(port);
        }
    }
    bail!("no free port from {FIRST_PORT} on")
}

/// Whether nothing listens on that port of 127.0.0.1.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Reads the forwards that were written last; none when there are none.
pub fn read(path: &Path) -> Vec<Forward> {
    fs::read(path).ok().and_then(|content| serde_json::from_slice(&content).ok()).unwrap_or_default()
}

/// Writes the forwards where the node's supervisor looks for them; it takes them up by itself.
pub fn write(path: &Path, forwards: &[Forward]) -> Result<bool> {
    let content = serde_json::to_vec_pretty(forwards).context("forwards are plain data")?;
    files::write_whole(path, &content)
}

/// Waits until every address answers that it is ready: a slot's status may be older than its pods, as after a reboot.
pub fn wait_until_served(forwards: &[Forward], stage: &Stage<'_>) -> Result<()> {
    let began = Instant::now();
    for forward in forwards {
        while !is_ready(forward.listen) {
            if began.elapsed() > DEADLINE {
                bail!("{}/readyz does not answer 200 after {} s; `cargo xtask status` shows what runs", forward.url(), DEADLINE.as_secs());
            }
            stage.detail(&forward.url());
            std::thread::sleep(INTERVAL);
        }
    }
    Ok(())
}

/// Whether `GET /readyz` answers 200 there.
fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut connection = TcpStream::connect_timeout(&address, TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        write!(connection, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut status_line = String::new();
        BufReader::new(connection).read_line(&mut status_line)?;
        Ok(status_line.split(' ').nth(1) == Some("200"))
    };
    ask().unwrap_or(false)
}

/// Starts what serves the forwards into a cluster that was there already, unless it runs.
pub fn supervise(kubernetes: &Kubernetes<'_>, program: &ClusterProgram<'_>, path: &Path) -> Result<()> {
    let directory = path.parent().context("the forwards have a directory")?;
    if running(directory).is_some() {
        return Ok(()); // it reads the file again by itself
    }
    let kubeconfig = directory.join("kubeconfig");
    let content = kubernetes.run(&["config", "view", "--raw", "--minify", "--flatten"])?;
    files::write_private(&kubeconfig, content.as_bytes())?;
    let log = File::create(directory.join("forward.log")).with_context(|| format!("cannot write in {}", directory.display()))?;
    let child = program
        .command()
        .args(["forward", "--kubeconfig"])
        .arg(&kubeconfig)
        .arg("--config")
        .arg(path)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("cannot start the port-forward")?;
    files::write_whole(&directory.join(PID_FILE), child.id().to_string().as_bytes())?;
    Ok(())
}

/// Ends what [`supervise`] started, if it runs, and forgets the cluster's credentials.
pub fn stop(directory: &Path) -> Result<()> {
    if let Some(pid) = running(directory) {
        process::output(Command::new("kill").arg(pid))?;
    }
    for file in [PID_FILE, "kubeconfig"] {
        let _ = fs::remove_file(directory.join(file));
    }
    Ok(())
}

/// The process id of what [`supervise`] started, if that still is what has this id.
fn running(directory: &Path) -> Option<String> {
    let pid = fs::read_to_string(directory.join(PID_FILE)).ok()?;
    let pid = pid.trim();
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    command_line.split(|byte| *byte == 0).any(|argument| argument == b"forward").then(|| pid.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn slot(name: &str) -> ReadySlot {
        ReadySlot {
            namespace: format!("pcasia-{name}"),
            name: name.to_owned(),
            services: vec!["campaigns".to_owned(), "silent".to_owned()],
        }
    }

    fn release() -> Release {
        let services = json!({ "campaigns": { "roles": { "api": { "port": 8080 } } }, "silent": { "roles": {} } });
        Release::of(services.as_object().cloned().unwrap_or_else(Map::new))
    }

    #[test]
    fn ports_stay_when_slots_come_and_go() {
        let free = |_: u16| true;
        let first = plan(&[slot("dev"), slot("production")], &release(), &[], &free).unwrap();
        assert_eq!(first.iter().map(|forward| forward.listen.port()).collect::<Vec<_>>(), [18080, 18081]);
        let then = plan(&[slot("alpha"), slot("production")], &release(), &first, &free).unwrap();
        assert_eq!(then[1], first[1]);
        assert_eq!(then[0].listen.port(), 18082);
    }

    #[test]
    fn ready_is_what_answers_200() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for status in ["503 Service Unavailable", "200 OK"] {
                let (connection, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(&connection).lines();
                while !lines.next().unwrap().unwrap().is_empty() {}
                write!(&connection, "HTTP/1.1 {status}\r\n\r\n").unwrap();
            }
        });
        assert!(!is_ready(address));
        assert!(is_ready(address));
        server.join().unwrap();
        assert!(!is_ready(address));
    }

    #[test]
    fn a_port_that_somebody_uses_is_left_out() {
        let forwards = plan(&[slot("dev")], &release(), &[], &|port| port != 18080).unwrap();
        assert_eq!(forwards[0].listen.port(), 18081);
    }
}
