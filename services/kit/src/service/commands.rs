//! Commands of a service's binary beside those of every service: for people, such as an import.

use std::future::Future;
use std::process::ExitCode;

use clap::{ArgMatches, Command, Subcommand};
use futures::FutureExt;
use futures::future::BoxFuture;

/// Commands that a service adds, as a clap enum. Each says itself what went wrong, on standard error, and with which code the process
/// exits; 2 is clap's, for a wrong command line.
pub trait ServiceCommand: Subcommand + Send + 'static {
    /// Does it, in a Tokio runtime.
    fn run(self) -> impl Future<Output = ExitCode> + Send;
}

/// A command that was given, about to be run.
type Run = BoxFuture<'static, ExitCode>;

/// What [`super::Service::commands`] adds.
#[derive(Debug, Clone, Copy)]
pub struct Commands {
    augment: fn(Command) -> Command,
    parse: fn(&ArgMatches) -> Option<Result<Run, clap::Error>>,
}

impl Commands {
    /// None.
    pub const NONE: Self = Self { augment: |command| command, parse: |_| None };

    /// Those of `C`.
    #[must_use]
    pub const fn of<C: ServiceCommand>() -> Self {
        Self {
            augment: C::augment_subcommands,
            parse: |matches| {
                let name = matches.subcommand_name()?;
                C::has_subcommand(name).then(|| C::from_arg_matches(matches).map(|command| command.run().boxed()))
            },
        }
    }

    /// The command line with these commands beside its own.
    pub(super) fn add_to(self, command: Command) -> Command {
        (self.augment)(command)
    }

    /// The command that was given; `None` if it is one of every service's.
    pub(super) fn given(self, matches: &ArgMatches) -> Option<Result<Run, clap::Error>> {
        (self.parse)(matches)
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::super::command_line::CommandLine;
    use super::*;

    #[derive(Debug, Subcommand)]
    enum Added {
        /// Greet
        Greet {
            #[arg(long, default_value_t = 0)]
            code: u8,
        },
    }

    impl ServiceCommand for Added {
        async fn run(self) -> ExitCode {
            let Self::Greet { code } = self;
            ExitCode::from(code)
        }
    }

    fn matches(arguments: &[&str]) -> Result<ArgMatches, clap::Error> {
        Commands::of::<Added>().add_to(CommandLine::command()).try_get_matches_from(arguments)
    }

    #[tokio::test]
    async fn a_command_that_a_service_adds_is_run() {
        let matches = matches(&["service", "greet", "--code", "7"]).unwrap();
        let command = Commands::of::<Added>().given(&matches).unwrap().unwrap();
        assert_eq!(format!("{:?}", command.await), format!("{:?}", ExitCode::from(7)));
    }

    #[test]
    fn the_commands_of_every_service_stay() {
        let matches = matches(&["service", "describe"]).unwrap();
        assert!(Commands::of::<Added>().given(&matches).is_none());
        assert!(CommandLine::from_arg_matches(&matches).is_ok());
    }

    #[test]
    fn without_added_commands_an_unknown_one_is_refused() {
        assert!(Commands::NONE.add_to(CommandLine::command()).try_get_matches_from(["service", "greet"]).is_err());
    }
}
