//! The binary of the campaigns service: `api`, `worker`, `migrate`, `describe`, `openapi`, and `import` for people.

use std::process::ExitCode;

fn main() -> ExitCode {
    tenantry_kit::service::main::<campaigns::Campaigns>()
}
