//! Holds processes to a share of a core, as the limit of a pod does: by the kernel's CPU controller.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, ensure};

const ROOT: &str = "/sys/fs/cgroup";
/// In which a share is given anew, in microseconds; kubelet's.
const PERIOD: u64 = 100_000;

/// A control group with one process in it. Drop it after the process has ended: then it can be removed.
#[derive(Debug)]
pub struct CpuShare(PathBuf);

impl CpuShare {
    /// Lets process `id` have so many hundredths of a core from now on.
    ///
    /// # Errors
    /// When there is no CPU controller, or no right to it.
    pub fn hold(id: u32, percent: u32) -> Result<Self> {
        let quota = PERIOD * u64::from(percent) / 100;
        let name = format!("tenantry-bench-{}-{id}", process::id());
        let first = Path::new(ROOT).join("cpu");
        let (directory, limits) = if first.join("tasks").exists() {
            (first.join(name), vec![("cpu.cfs_period_us", PERIOD.to_string()), ("cpu.cfs_quota_us", quota.to_string())])
        } else {
            let controllers = fs::read_to_string(Path::new(ROOT).join("cgroup.subtree_control")).unwrap_or_default();
            ensure!(controllers.split_whitespace().any(|controller| controller == "cpu"), "there is no CPU controller below {ROOT}");
            (Path::new(ROOT).join(name), vec![("cpu.max", format!("{quota} {PERIOD}"))])
        };
        fs::create_dir(&directory).with_context(|| format!("cannot make the control group {}", directory.display()))?;
        let share = Self(directory);
        limits.into_iter().chain([("cgroup.procs", id.to_string())]).try_for_each(|(file, text)| share.write(file, &text))?;
        Ok(share)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.0.join(file);
        fs::write(&path, text).with_context(|| format!("cannot write {text} to {}", path.display()))
    }
}

impl Drop for CpuShare {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("cannot remove the control group {}: {error}", self.0.display());
        }
    }
}
