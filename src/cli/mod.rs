//! One small file a command: arguments in, exit code out; data on stdout, talk on stderr.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the command line is where printing belongs")]

mod build;
mod check;
mod deliver;
mod docs;
mod explain;
mod global;
mod init;
mod output;
mod plan;
mod preview;
mod prompt;
mod pull;
mod query;
mod report;
mod returns;
mod run;
mod sandbox;
mod schema;
mod segment;
mod serve;
mod status;
mod suppress;
mod test;
mod tidy;
mod unknown;
mod why;
mod write_back;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use global::Global;

use crate::diagnosis::{Diagnosis, Exit, Failure};

/// Finds the customers who are drifting away and the ones who deserve thanks, and writes to each of them once.
#[derive(Debug, Parser)]
#[command(name = "perennial", version, about, max_term_width = 110, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a working project folder
    Init(init::Args),
    /// Find everything that can be known to be wrong before a run
    Check(check::Args),
    /// The tables and what their columns hold; JSON Schemas of the TOML files, for editors
    Schema(schema::Args),
    /// Write pages about all tables: what they are, where they come from, who uses them
    Docs(docs::Args),
    /// Run one job once; without --deliver nothing leaves the house
    Run(run::Args),
    /// Fetch what changed at the sources
    Pull(pull::Args),
    /// Rebuild the tables of sql/
    Build(build::Args),
    /// Ask the tables a question in SQL
    Query(query::Args),
    /// Show how a file of sql/ or a query is carried out, step by step
    Explain(explain::Args),
    /// Look at one segment: who is in it, who would enter and leave
    #[command(subcommand)]
    Segment(segment::Command),
    /// Run the SQL unit tests and audits (not a mail to a colleague: that is send-test)
    Test(test::Args),
    /// Plan one campaign of the latest slot
    Plan(plan::PlanArgs),
    /// List the plans
    Plans(plan::PlansArgs),
    /// Approve a plan: what was reviewed is what will be sent
    Approve(plan::ApproveArgs),
    /// Reject a plan
    Reject(plan::RejectArgs),
    /// Hold a plan; nothing more of it is sent until it is resumed
    Hold(plan::PlanId),
    /// Resume a held plan
    Resume(plan::PlanId),
    /// Cancel what has not been sent of a plan
    Cancel(plan::PlanId),
    /// Deliver approved plans
    Deliver(deliver::Args),
    /// Show one message as one person would get it (a whole segment: segment preview)
    Preview(preview::PreviewArgs),
    /// Send one message of a campaign to a colleague
    SendTest(preview::SendTestArgs),
    /// Tell other systems whom they must not write to any more, as their settings ask for it
    WriteBack(write_back::Args),
    /// Say in which box a person is, and why
    Why(why::Args),
    /// Messages whose outcome cannot be known
    #[command(subcommand)]
    Unknown(unknown::Command),
    /// Show a report: retention, service_response, or campaign NAME
    Report(report::Args),
    /// Run the jobs on their schedule and answer unsubscribe links
    Serve(serve::Args),
    /// What runs, what came in, what is unknown
    Status(status::StatusArgs),
    /// The runs so far
    History(status::HistoryArgs),
    /// Remove old versions, plans and outbox files
    Tidy(tidy::Args),
    /// Who must not be written to
    #[command(subcommand)]
    Suppress(suppress::Command),
    /// Read the mailboxes that bounces and complaints come back to
    Returns,
    /// Serve the practice shop over HTTP
    Sandbox(sandbox::Args),
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let global = cli.global;
    global.start_log();
    let exit = match block_on(run(cli.command, global.clone())) {
        Ok(exit) => exit,
        Err(failure) => {
            output::fail(&global, &failure);
            failure.exit
        }
    };
    ExitCode::from(exit.code())
}

/// What ends a command line that cannot be read, or only asks for help or the version.
fn misused(error: &clap::Error) -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let (json, json_log) = (asks(&words, "--format"), asks(&words, "--log-format"));
    if error.use_stderr() && (json || json_log) {
        output::misused(&usage(error), json, json_log);
    } else {
        // A reader who has closed the pipe (`--help | head`) has seen enough.
        let _ = error.print();
    }
    ExitCode::from(if error.use_stderr() { Exit::Wrong } else { Exit::Done }.code())
}

/// Whether a command line that could not be read says `json` behind `option`.
fn asks(words: &[String], option: &str) -> bool {
    let before: Vec<&String> = words.iter().take_while(|word| *word != "--").collect();
    before.iter().any(|word| word.strip_prefix(option) == Some("=json"))
        || before.windows(2).any(|two| two[0] == option && two[1] == "json")
}

/// The parser's answer, several paragraphs meant for a terminal, as a diagnosis: the first is what is wrong, then come tips and the usage.
fn usage(error: &clap::Error) -> Diagnosis {
    let help = "`perennial --help` lists the commands, `perennial COMMAND --help` what one takes";
    let text = error.render().to_string();
    let Some(text) = text.strip_prefix("error: ") else {
        return Diagnosis::new("usage", "there is no command").hint(help);
    };
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut paragraphs = text.split("\n\n").map(one_line);
    let message = paragraphs.next().unwrap_or_default();
    let advice = paragraphs.find_map(|paragraph| {
        paragraph
            .strip_prefix("tip: ")
            .map(str::to_owned)
            .or_else(|| paragraph.strip_prefix("Usage: ").map(|usage| format!("write: {usage}")))
    });
    Diagnosis::new("usage", message).hint(advice.unwrap_or_else(|| help.to_owned()))
}

async fn run(command: Command, global: Global) -> Result<Exit, Failure> {
    global.refuse_table_formats(matches!(command, Command::Query(_)))?;
    match command {
        Command::Init(args) => init::run(&global, args),
        Command::Check(args) => check::run(&global, args).await,
        Command::Schema(args) => schema::run(&global, args).await,
        Command::Docs(args) => docs::run(&global, args).await,
        Command::Run(args) => run::run(&global, args).await,
        Command::Pull(args) => pull::run(&global, args).await,
        Command::Build(args) => build::run(&global, args).await,
        Command::Query(args) => query::run(&global, args).await,
        Command::Explain(args) => explain::run(&global, args).await,
        Command::Segment(command) => segment::run(&global, command).await,
        Command::Test(args) => test::run(&global, args).await,
        Command::Plan(args) => plan::plan(&global, args).await,
        Command::Plans(args) => plan::list(&global, args).await,
        Command::Approve(args) => plan::approve(&global, args).await,
        Command::Reject(args) => plan::reject(&global, args).await,
        Command::Hold(plan) => plan::hold(&global, plan).await,
        Command::Resume(plan) => plan::resume(&global, plan).await,
        Command::Cancel(plan) => plan::cancel(&global, plan).await,
        Command::Deliver(args) => deliver::run(&global, args).await,
        Command::Preview(args) => preview::preview(&global, args).await,
        Command::SendTest(args) => preview::send_test(&global, args).await,
        Command::WriteBack(args) => write_back::run(&global, args).await,
        Command::Why(args) => why::run(&global, args).await,
        Command::Unknown(command) => unknown::run(&global, command).await,
        Command::Report(args) => report::run(&global, args).await,
        Command::Serve(args) => serve::run(&global, args).await,
        Command::Status(args) => status::status(&global, args).await,
        Command::History(args) => status::history(&global, args).await,
        Command::Tidy(args) => tidy::run(&global, args).await,
        Command::Suppress(command) => suppress::run(&global, command).await,
        Command::Returns => returns::run(&global).await,
        Command::Sandbox(args) => sandbox::run(&global, args).await,
    }
}

/// Runs a future to its end on threads with stacks deep enough for the planner of large queries.
fn block_on<F>(future: F) -> Result<Exit, Failure>
where
    F: Future<Output = Result<Exit, Failure>> + Send + 'static,
{
    let failed =
        |reason: String| Failure::failed(Diagnosis::new("internal", reason).hint("run it again; if it stays, report it with the log"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(16 << 20)
        .build()
        .map_err(|error| failed(format!("the program cannot start its threads: {error}")))?;
    runtime.block_on(async { tokio::spawn(future).await.map_err(|error| failed(format!("the program stopped unexpectedly: {error}")))? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn told(line: &str) -> Diagnosis {
        usage(&Cli::try_parse_from(words(line)).unwrap_err())
    }

    #[test]
    fn a_wrong_command_line_becomes_a_diagnosis() {
        let unknown = told("perennial plns --format json");
        assert_eq!((unknown.code.as_str(), unknown.message.as_str()), ("usage", "unrecognized subcommand 'plns'"));
        assert!(unknown.hint.unwrap().contains("'plan"), "the nearest is named");
        let missing = told("perennial approve some-plan");
        assert!(missing.message.contains("--by <NAME>") && !missing.message.contains('\n'), "{}", missing.message);
        assert!(missing.hint.unwrap().starts_with("write: perennial approve"));
        assert_eq!(told("perennial").message, "there is no command");
        assert!(told("perennial run nightly --format yaml").message.contains("yaml"));
    }

    #[test]
    fn json_is_asked_for_in_both_ways_of_writing_it() {
        for (line, asked) in [
            ("run --format json", true),
            ("--format=json run", true),
            ("run --format text", false),
            ("run --log-format json", false),
            ("query -- --format json", false),
            ("run --format", false),
        ] {
            assert_eq!(asks(&words(line), "--format"), asked, "{line}");
        }
    }

    #[test]
    fn the_commands_are_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
