//! The project's commands. `cargo xtask help` lists them.

mod axe_core;
mod bench;
mod cargo;
mod charts;
mod cluster;
mod commands;
mod diagnosis;
mod examples;
mod files;
mod forwards;
mod generate;
mod go_program;
mod images;
mod kubernetes;
mod node;
mod packages;
mod places;
mod process;
mod progress;
mod readiness;
mod release;
mod report;
mod test;
mod tidy;
mod up;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::test::StageName;

/// The commands of the Tenantry project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Start everything: a throwaway Kubernetes, Tenantry on it, and the tenant of examples/.
    ///
    /// Builds what is not built, starts what does not run, changes what has changed, and waits until all is Ready. Run
    /// again with nothing changed it changes nothing. Needs root for the throwaway node; with --context and --registry
    /// it uses a cluster that is there already.
    Up {
        /// Context of your kubeconfig: use that cluster instead of a throwaway node.
        #[arg(long, requires = "registry")]
        context: Option<String>,
        /// Registry to push images to, HOST/PATH; the cluster must be able to pull from it.
        #[arg(long, requires = "context")]
        registry: Option<String>,
        #[command(flatten)]
        node: NodeName,
        #[command(flatten)]
        output: Output,
    },
    /// End everything that `up` started. Caches stay.
    Down {
        #[command(flatten)]
        node: NodeName,
    },
    /// Run the bundled kubectl against the throwaway node.
    #[command(disable_help_flag = true)]
    Kubectl {
        /// Arguments of kubectl.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Run the bundled Helm against the throwaway node.
    #[command(disable_help_flag = true)]
    Helm {
        /// Arguments of Helm.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Print the path of the throwaway node's kubeconfig.
    Kubeconfig {
        #[command(flatten)]
        node: NodeName,
    },
    /// Show what runs: the node's parts, the slots, their URLs.
    Status {
        #[command(flatten)]
        node: NodeName,
        #[command(flatten)]
        output: Output,
    },
    /// Run tests, by stages; each starts and stops what it needs.
    Test {
        /// The stages to run; all when none is named.
        stages: Vec<StageName>,
        /// Leave the node of the stage `node` running, to look at; end it with `cargo xtask down --name test`.
        #[arg(long)]
        keep_node: bool,
        /// Run only tests whose name contains this, and nothing but tests.
        #[arg(long)]
        filter: Option<String>,
    },
    /// Measure, and say which goals are met.
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
    /// Build the images of the services, optimised, and print a Release that names them.
    Release {
        /// Push the images to this registry, HOST/PATH, and name them there.
        #[arg(long)]
        registry: Option<String>,
        /// Write to this file instead of standard output.
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Generate what is generated and checked in: the CRDs, and OpenAPI documents where there are any.
    Generate {
        /// Change nothing; fail when something is not as it would be generated.
        #[arg(long)]
        check: bool,
    },
    /// Check rules on the sources that no compiler checks.
    Tidy,
}

#[derive(Subcommand)]
enum Bench {
    /// The operator beside a control plane, with fakes of PostgreSQL and workloads. Takes the whole machine.
    #[command(disable_help_flag = true)]
    Operator {
        /// Arguments of the measuring program: see `cargo xtask bench operator --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Campaigns as they are deployed, with Valkey as the peer. Takes the whole machine.
    #[command(disable_help_flag = true)]
    Campaigns {
        /// Arguments of the measuring program: see `cargo xtask bench campaigns --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

#[derive(clap::Args)]
struct NodeName {
    /// Name of the throwaway node, when several are to run.
    #[arg(long, env = node::NAME_VARIABLE, default_value = node::DEFAULT_NAME, value_parser = node_name)]
    name: String,
}

#[derive(clap::Args)]
struct Output {
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    Text,
    Json,
}

fn node_name(name: &str) -> Result<String, String> {
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let begins = name.starts_with(|first: char| first.is_ascii_lowercase());
    let reserved = name == "logs" || name == up::EXISTING;
    if letters && begins && !name.ends_with('-') && !reserved && name.len() <= 30 {
        Ok(name.to_owned())
    } else {
        Err("a node's name has at most 30 lower-case letters, digits and hyphens, and begins with a letter".to_owned())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Subcommands) -> anyhow::Result<ExitCode> {
    let places = places::Places::find()?;
    match command {
        Subcommands::Up { context, registry, node, output } => {
            let cluster = match (context, registry) {
                (Some(context), Some(registry)) => up::Cluster::Existing { context, registry },
                _ => up::Cluster::Node(node.name),
            };
            commands::up(&places, &cluster, output.output == OutputFormat::Json)?;
        }
        Subcommands::Down { node } => commands::down(&places, &node.name)?,
        Subcommands::Kubectl { arguments } => {
            return Err(commands::client(&places, "kubectl", &arguments));
        }
        Subcommands::Helm { arguments } => {
            return Err(commands::client(&places, "helm", &arguments));
        }
        Subcommands::Kubeconfig { node } => commands::kubeconfig(&places, &node.name)?,
        Subcommands::Status { node, output } => {
            commands::status(&places, &node.name, output.output == OutputFormat::Json)?;
        }
        Subcommands::Test { stages, keep_node, filter } => {
            return test::run(&places, test::Options { stages, keep_node, filter });
        }
        Subcommands::Bench { what: Bench::Operator { arguments } } => return bench::operator(&places, &arguments),
        Subcommands::Bench { what: Bench::Campaigns { arguments } } => return bench::campaigns(&places, &arguments),
        Subcommands::Release { registry, output } => {
            commands::release(&places, registry, output.as_deref())?;
        }
        Subcommands::Generate { check } => generate::run(&places, check)?,
        Subcommands::Tidy => tidy::run(&places)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn clients_get_their_arguments_as_they_are() {
        let arguments = Arguments::try_parse_from(["xtask", "kubectl", "get", "pods", "-A", "--help"]).unwrap();
        let Subcommands::Kubectl { arguments } = arguments.command else {
            panic!("another command");
        };
        assert_eq!(arguments, ["get", "pods", "-A", "--help"]);
    }

    #[test]
    fn a_context_needs_a_registry() {
        assert!(Arguments::try_parse_from(["xtask", "up", "--context", "c"]).is_err());
        assert!(Arguments::try_parse_from(["xtask", "up", "--context", "c", "--registry", "r/p"]).is_ok());
    }

    #[test]
    fn a_node_name_is_fit_for_a_directory_and_a_link() {
        assert!(node_name("test-1").is_ok());
        for bad in ["", "-a", "a/b", "A", "logs", "..", &"a".repeat(31)] {
            assert!(node_name(bad).is_err(), "{bad}");
        }
    }
}
