//! A throwaway Chromium behind its WebDriver, on loopback. What they write is in a directory of their own, and no process of theirs is left.

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::janitor::{Janitor, free_port};

const START_DEADLINE: Duration = Duration::from_secs(20);

/// A running ChromeDriver. It ends with the browsers that it started when this is dropped or the process ends.
#[derive(Debug)]
pub struct ChromeDriver {
    directory: PathBuf,
    port: u16,
    browser: PathBuf,
    leader: Child,
    janitor: Option<Janitor>,
}

impl ChromeDriver {
    /// Starts it; no browser yet.
    ///
    /// # Errors
    /// When Chromium or its driver are not installed, or the driver does not start.
    pub fn start() -> Result<Self> {
        let (driver, browser) = (find_program("chromedriver")?, find_program("chromium")?);
        let directory = tempfile::Builder::new().prefix("tenantry-chromium-").tempdir()?.keep();
        let port = free_port()?;
        // The first process of a session of its own: a browser is in another process group than its driver.
        let leader = Command::new("setsid")
            .arg(driver)
            .arg(format!("--port={port}"))
            .envs([("HOME", &directory), ("TMPDIR", &directory)])
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(directory.join("log"))?)
            .stderr(Stdio::null())
            .spawn()
            .context("starting chromedriver by setsid, of util-linux")?;
        let janitor = Some(Janitor::watch_session(&directory, leader.id())?);
        let started = Self { directory, port, browser, leader, janitor };
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(started.directory.join("log")).unwrap_or_default();
                bail!("chromedriver does not listen on port {port}: {log}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(started)
    }

    /// Where it takes commands.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The browser.
    #[must_use]
    pub fn browser(&self) -> &Path {
        &self.browser
    }

    /// What the browser is to be started with: without a window, with a profile of its own, and without a way to anywhere but this machine.
    #[must_use]
    pub fn browser_arguments(&self) -> Vec<String> {
        let profile = format!("--user-data-dir={}", self.directory.join("profile").display());
        let fixed = [
            "--headless",
            // Tests are run by root too, for whom there is no sandbox.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        ];
        fixed.into_iter().map(str::to_owned).chain([profile]).collect()
    }
}

impl Drop for ChromeDriver {
    fn drop(&mut self) {
        // First the session: the leader's process id is given anew as soon as it is waited for.
        drop(self.janitor.take());
        let _ = self.leader.wait();
    }
}

fn find_program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|candidate| candidate.is_file()).with_context(|| {
        format!(
            "{name} is not installed: run the tests with `cargo xtask test services` (on Debian: apt-get install chromium chromium-driver)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Command lines of all processes that name this text.
    fn processes(text: &str) -> Vec<String> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(text)).collect()
    }

    #[tokio::test]
    async fn a_browser_ends_and_leaves_nothing_when_its_driver_is_dropped() {
        let driver = ChromeDriver::start().unwrap();
        let capabilities = serde_json::json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": {
            "binary": driver.browser(), "args": driver.browser_arguments(),
        } } } });
        let session = reqwest::Client::new().post(format!("{}/session", driver.url())).json(&capabilities).send().await.unwrap();
        assert!(session.status().is_success(), "{}", session.text().await.unwrap());
        let directory = driver.directory.clone();
        let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(processes(&name).len() > 2, "browser, its parts, and the janitor run");
        drop(driver);
        assert_eq!(processes(&name), Vec::<String>::new());
        assert!(!directory.exists());
    }
}
