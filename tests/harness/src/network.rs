//! Sockets of other network namespaces: a pod's, the node's, or one that a test makes.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How long a connection may take; a refusal is quicker.
const CONNECT: Duration = Duration::from_secs(5);

/// A network namespace. It lives for as long as somebody holds it.
#[derive(Debug)]
pub struct Network {
    namespace: File,
}

impl Network {
    /// The network of a running process, and so of its whole pod.
    ///
    /// # Errors
    /// When there is no such process, or without root.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        Self::at(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// The network that a file names.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { namespace: File::open(path)? })
    }

    /// Does something on a thread in this network. Sockets that it makes stay in it, wherever they are used then.
    ///
    /// # Errors
    /// When the network cannot be entered, or what was to be done fails.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                work()
            });
            inside.join().unwrap_or_else(|_| Err(io::Error::other("a thread in another network panicked")))
        })
    }

    /// Connects from this network.
    ///
    /// # Errors
    /// When nobody answers, or the connection is refused.
    pub fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.run(|| TcpStream::connect_timeout(&to, CONNECT))
    }
}
