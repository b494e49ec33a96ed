//! Writes the CustomResourceDefinitions into the chart `tenantry-crds`. With `--check` it writes nothing, names the
//! files that differ, and fails if there are any.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            eprintln!("unknown argument {other}; the only one is --check");
            return ExitCode::from(2);
        }
    };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/tenantry-crds/templates");
    let mut outcome = ExitCode::SUCCESS;
    for (name, content) in tenantry_crds::definition::files() {
        let path = directory.join(&name);
        if std::fs::read_to_string(&path).is_ok_and(|found| found == content) {
            continue;
        }
        if check {
            eprintln!("charts/tenantry-crds/templates/{name} is stale: run `cargo xtask generate`");
            outcome = ExitCode::FAILURE;
        } else if let Err(error) = std::fs::write(&path, content) {
            eprintln!("cannot write {}: {error}", path.display());
            outcome = ExitCode::FAILURE;
        } else {
            println!("wrote charts/tenantry-crds/templates/{name}");
        }
    }
    outcome
}
