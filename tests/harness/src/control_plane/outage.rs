//! Trouble with the API server: it hangs, it is gone, it starts anew. The same port and data serve before and after.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{ControlPlane, DEADLINE};

const API_SERVER: &str = "kube-apiserver";

impl ControlPlane {
    /// Stops the API server where it is: connections stay open, and nothing is answered. Until [`Self::resume_api_server`].
    ///
    /// # Errors
    /// When there is no such process.
    pub fn pause_api_server(&self) -> Result<()> {
        signal("STOP", self.process(API_SERVER)?)
    }

    /// Lets a stopped API server go on.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn resume_api_server(&self) -> Result<()> {
        signal("CONT", self.process(API_SERVER)?)
    }

    /// Ends the API server, and keeps who would start it again from that: connections are refused. Until
    /// [`Self::give_api_server_back`].
    ///
    /// # Errors
    /// When there is no such process.
    pub fn take_api_server_away(&self) -> Result<()> {
        signal("STOP", self.supervisor()?)?;
        signal("KILL", self.process(API_SERVER)?)
    }

    /// Lets the API server be started again, and returns when it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn give_api_server_back(&self) -> Result<()> {
        signal("CONT", self.supervisor()?)?;
        self.wait_for_api_server().await
    }

    /// Ends the API server, and returns when its successor answers: one that remembers no event from before.
    ///
    /// # Errors
    /// When it does not.
    pub async fn restart_api_server(&self) -> Result<()> {
        let before = self.process(API_SERVER)?;
        signal("KILL", before)?;
        let begun = Instant::now();
        while self.process(API_SERVER).map_or(true, |now| now == before) {
            ensure!(begun.elapsed() < DEADLINE, "nobody starts the API server again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.wait_for_api_server().await
    }

    async fn wait_for_api_server(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let answer = self.run("kubectl", &["get", "--raw=/readyz", "--request-timeout=2s"], None).await?;
            if answer.status.success() {
                return Ok(());
            }
            ensure!(begun.elapsed() < DEADLINE, "the API server does not answer: {}", String::from_utf8_lossy(&answer.stderr));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(super) fn let_supervisor_go_on(&self) -> Result<()> {
        signal("CONT", self.supervisor()?)
    }

    fn supervisor(&self) -> Result<u32> {
        self.process_that(|words| words.iter().any(|word| word == "--until-stdin-closes"))
            .context("the control plane's supervisor does not run")
    }

    fn process(&self, name: &str) -> Result<u32> {
        self.process_that(|words| words.first().is_some_and(|word| word == name)).with_context(|| format!("{name} does not run"))
    }

    /// A process whose command line names this control plane's directory. The shell around it does too, but is no part.
    fn process_that(&self, is_meant: impl Fn(&[String]) -> bool) -> Option<u32> {
        let directory = self.directory.to_string_lossy().into_owned();
        std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let id: u32 = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let words: Vec<String> = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            let own = words.iter().any(|word| word.contains(&directory)) && words.first().is_some_and(|word| !word.ends_with("/sh"));
            (own && is_meant(&words)).then_some(id)
        })
    }
}

fn signal(name: &str, process: u32) -> Result<()> {
    let status = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status()?;
    ensure!(status.success(), "kill -{name} {process}: {status}");
    Ok(())
}
