//! Where images go: into the node, or to a registry.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cluster::ClusterProgram;
use crate::process;

use super::Image;

/// The registry's name in references to images that no registry has.
const LOCAL: &str = "tenantry.local";

/// Where images go.
pub enum Destination {
    /// Into the containerd of the node with this state directory.
    Node(PathBuf),
    /// To a registry, below `HOST/PATH`.
    Registry(String),
    /// Nowhere: they are only named.
    Nowhere,
}

#[derive(Deserialize)]
struct Pushed {
    reference: String,
}

impl Destination {
    /// Brings the image there and gives its reference by digest.
    pub fn bring(&self, cluster: &ClusterProgram<'_>, image: &Image) -> Result<String> {
        match self {
            Self::Node(state) => {
                let reference = local_reference(image);
                let mut command = cluster.command();
                command.args(["images", "import", "--state"]).arg(state);
                command.args(["--name", &reference]).arg(&image.archive);
                process::output(&mut command).with_context(|| format!("cannot give the image {} to the node", image.name))?;
                Ok(reference)
            }
            Self::Registry(prefix) => {
                let tag = &image.digest.trim_start_matches("sha256:")[..12];
                let reference = format!("{}/{}:{tag}", prefix.trim_end_matches('/'), image.name);
                let mut command = cluster.command();
                command.args(["image", "push"]).arg(&image.archive).arg(&reference);
                let printed = process::output(&mut command)
                    .with_context(|| format!("cannot push {reference}; is the registry there, and are you logged in?"))?;
                let pushed: Pushed = serde_json::from_slice(&printed).context("`image push` printed something else than the reference")?;
                Ok(pushed.reference)
            }
            Self::Nowhere => Ok(local_reference(image)),
        }
    }
}

fn local_reference(image: &Image) -> String {
    format!("{LOCAL}/{}@{}", image.name, image.digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_image_is_named_by_its_digest() {
        let image = Image { name: "campaigns".to_owned(), digest: "sha256:00".to_owned(), archive: PathBuf::new() };
        assert_eq!(local_reference(&image), "tenantry.local/campaigns@sha256:00");
    }
}
