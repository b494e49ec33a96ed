//! The images that `up` and tests run, built without a container engine. The same tree gives the same digests.

mod destination;
mod postgresql_on_host;
mod root_file_system;
mod valkey_on_host;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cluster::ClusterProgram;
use crate::files::{self, ContentHash};
use crate::places::Places;
use crate::process;
use crate::progress::Stage;

pub use destination::Destination;
pub use postgresql_on_host::postgresql_on_host;
use root_file_system::{BASE, POSTGRESQL, Recipe, VALKEY, directory};
pub use valkey_on_host::valkey_on_host;

/// How many images of a name stay in the cache.
const KEPT: usize = 4;
/// The user that the workspace's programs run as.
const NONROOT: &str = "65532:65532";

/// A binary of the workspace that becomes an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Name of the image and of the binary that cargo builds.
    pub name: &'static str,
    /// Whether it is a service, which describes itself.
    pub service: bool,
}

/// The operator.
pub const OPERATOR: Program = Program { name: "tenantry-operator", service: false };

/// The services that a release carries.
pub const SERVICES: [Program; 1] = [Program { name: "campaigns", service: true }];

/// A service that exists only in tests.
pub const GREETER: Program = Program { name: "greeter", service: true };

/// An image in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    /// Its short name: `campaigns`, `postgresql`.
    pub name: String,
    /// `sha256:...`
    pub digest: String,
    /// The archive that holds it.
    #[serde(skip)]
    pub archive: PathBuf,
}

/// Makes root file systems ahead of the binaries, since that waits for the network and not for compilers.
pub fn prepare(places: &Places, stage: &Stage<'_>) -> Result<()> {
    files::sweep_unfinished(&directory(places));
    let results: Vec<Result<PathBuf>> = std::thread::scope(|scope| {
        let running: Vec<_> = [&BASE, &POSTGRESQL, &VALKEY].map(|recipe| scope.spawn(|| recipe.tar(places, stage))).into_iter().collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread that makes an image panicked"))))
            .collect()
    });
    for result in results {
        result?;
    }
    Ok(())
}

/// Builds what the cache does not have yet.
pub struct Builder<'a> {
    places: &'a Places,
    cluster: &'a ClusterProgram<'a>,
    stage: &'a Stage<'a>,
}

impl<'a> Builder<'a> {
    /// A builder that reports to `stage`.
    pub fn new(places: &'a Places, cluster: &'a ClusterProgram<'a>, stage: &'a Stage<'a>) -> Self {
        Self { places, cluster, stage }
    }

    /// The image of a program that cargo built in `binaries`.
    pub fn program(&self, program: Program, binaries: &Path) -> Result<Image> {
        let path = format!("usr/bin/{}", program.name);
        let config = json!({ "entrypoint": [format!("/{path}")], "user": NONROOT, "workingDir": "/" });
        let stripped = self.stripped(program, binaries)?;
        let content = fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))?;
        let layer = Layer { file: stripped, path, content };
        let image = self.image(program.name, &BASE, Some(&layer), &config);
        let _ = fs::remove_file(&layer.file);
        image
    }

    /// PostgreSQL, for trials.
    pub fn postgresql(&self) -> Result<Image> {
        let config = json!({
            "entrypoint": ["/usr/bin/postgres"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
            "user": "10001:10001",
            "workingDir": "/var/lib/postgresql",
        });
        self.image("postgresql", &POSTGRESQL, None, &config)
    }

    /// Valkey, for slots.
    pub fn valkey(&self) -> Result<Image> {
        let config = json!({
            "entrypoint": ["/usr/bin/valkey-server"],
            "user": "10002:10002",
            "workingDir": "/var/lib/valkey",
        });
        self.image("valkey", &VALKEY, None, &config)
    }

    fn image(&self, name: &str, base: &Recipe, layer: Option<&Layer>, config: &serde_json::Value) -> Result<Image> {
        let base = base.tar(self.places, self.stage)?;
        let mut hash = ContentHash::default();
        hash.add("base", base.file_name().unwrap_or_default().as_encoded_bytes()).add("config", config.to_string().as_bytes());
        if let Some(layer) = layer {
            hash.add(&layer.path, &layer.content);
        }
        let stem = directory(self.places).join(format!("{name}-{}", &hash.hex()[..12]));
        let archive = stem.with_extension("image.tar");
        let digest_file = stem.with_extension("digest");
        if let (true, Ok(digest)) = (archive.is_file(), fs::read_to_string(&digest_file)) {
            return Ok(Image { name: name.to_owned(), digest, archive });
        }
        self.stage.detail(&format!("image {name}"));
        let digest = self.assemble(&archive, &base, layer, config)?;
        files::write_whole(&digest_file, digest.as_bytes())?;
        delete_old(self.places, name);
        Ok(Image { name: name.to_owned(), digest, archive })
    }

    fn assemble(&self, archive: &Path, base: &Path, layer: Option<&Layer>, config: &serde_json::Value) -> Result<String> {
        let unfinished = files::unfinished(archive);
        let config_file = files::unfinished(&archive.with_extension("config"));
        files::write_whole(&config_file, config.to_string().as_bytes())?;
        let mut command = self.cluster.command();
        command.args(["image", "build", "--base"]).arg(base);
        let layer_file = files::unfinished(&archive.with_extension("layer"));
        if let Some(layer) = layer {
            layer.write_tar(&layer_file)?;
            command.arg("--layer").arg(&layer_file);
        }
        command.arg("--config").arg(&config_file);
        command.arg("--output").arg(&unfinished);
        let printed = process::output(&mut command);
        let _ = fs::remove_file(&config_file);
        let _ = fs::remove_file(&layer_file);
        let built: Built = serde_json::from_slice(&printed?).context("`image build` printed something else than its digest")?;
        files::rename(&unfinished, archive)?;
        Ok(built.digest)
    }

    /// A copy of the binary without symbols and without what depends on where it was built.
    fn stripped(&self, program: Program, binaries: &Path) -> Result<PathBuf> {
        let stripped = files::unfinished(&directory(self.places).join(program.name));
        files::create_parent(&stripped)?;
        let mut command = Command::new("strip");
        command
            .args(["--strip-all", "--remove-section=.note.gnu.build-id", "--remove-section=.comment", "-o"])
            .arg(&stripped)
            .arg(binaries.join(program.name));
        process::output(&mut command)?;
        Ok(stripped)
    }
}

#[derive(Deserialize)]
struct Built {
    digest: String,
}

/// One executable file on top of a base.
struct Layer {
    file: PathBuf,
    path: String,
    content: Vec<u8>,
}

impl Layer {
    /// Writes the layer's tar, the same for the same content.
    fn write_tar(&self, tar: &Path) -> Result<()> {
        let tree = files::unfinished(&tar.with_extension("tree"));
        files::remove_directory(&tree)?;
        let file = tree.join(&self.path);
        files::create_parent(&file)?;
        fs::copy(&self.file, &file).with_context(|| format!("cannot copy {}", self.file.display()))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        let mut command = Command::new("tar");
        command
            .args(["--create", "--format=ustar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0"])
            .args(["--numeric-owner", "--file"])
            .arg(tar)
            .arg("--directory")
            .arg(&tree)
            .arg(&self.path);
        let made = process::output(&mut command);
        files::remove_directory(&tree)?;
        made.map(drop)
    }
}

/// Deletes all but the newest archives of that name.
fn delete_old(places: &Places, name: &str) {
    let Ok(entries) = fs::read_dir(directory(places)) else {
        return;
    };
    let mut archives: Vec<_> = entries
        .flatten()
        .filter(|entry| is_archive_of(&entry.file_name().to_string_lossy(), name))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    archives.sort();
    let excess = archives.len().saturating_sub(KEPT);
    for (_, archive) in &archives[..excess] {
        let _ = fs::remove_file(archive);
        let _ = fs::remove_file(archive.with_extension("").with_extension("digest"));
    }
}

fn is_archive_of(file: &str, name: &str) -> bool {
    file.strip_suffix(".image.tar").and_then(|stem| stem.rsplit_once('-')).is_some_and(|(stem, _)| stem == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_apart_by_name() {
        assert!(is_archive_of("campaigns-0123456789ab.image.tar", "campaigns"));
        assert!(is_archive_of("tenantry-operator-0123456789ab.image.tar", "tenantry-operator"));
        assert!(!is_archive_of("tenantry-operator-0123456789ab.image.tar", "operator"));
        assert!(!is_archive_of("campaigns-0123456789ab.digest", "campaigns"));
    }

    #[test]
    fn a_layer_is_the_same_whenever_it_is_made() {
        let directory = std::env::temp_dir().join(format!("xtask-layer-{}", std::process::id()));
        let file = directory.join("program");
        files::write_whole(&file, b"content").unwrap();
        let layer = Layer { file, path: "usr/bin/program".to_owned(), content: b"content".to_vec() };
        let tars = ["one.tar", "two.tar"].map(|name| directory.join(name));
        for tar in &tars {
            layer.write_tar(tar).unwrap();
        }
        assert_eq!(fs::read(&tars[0]).unwrap(), fs::read(&tars[1]).unwrap());
        files::remove_directory(&directory).unwrap();
    }
}
