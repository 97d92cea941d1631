//! The verbs: thin, each gathers what it needs, asks the engine and hands the answer to the report.
//! `session.rs` is what every verb has at hand: host, store, profile, lock, and the one `Ask`.
//! May use everything; nothing uses it.
//! Begin with `look.rs` (reads) and `change.rs` (writes).

mod about;
mod bake;
mod change;
pub(crate) mod cilium;
mod confirm;
mod deep;
mod doctor;
mod generate;
mod journal;
mod log;
mod look;
mod manual;
mod persist;
mod prompt;
mod session;

use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use self::session::{Session, report};
use crate::cli::dressed;
use crate::cli::{CheckArgs, CiliumCommand, Cli, Command, Format, RollbackArgs};
use crate::engine::{Exit, Refusal};

pub fn main() -> ExitCode {
    match generate::completed() {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(e) => e.exit(),
    }
    let cli = match parsed() {
        Ok(cli) => cli,
        Err(e) => {
            // Examples and the like are made for who asks for them.
            let asked = e.kind() == ErrorKind::DisplayHelp;
            let rich = asked.then(|| dressed().try_get_matches().err()).flatten();
            let e = rich.unwrap_or(e);
            let code = if e.use_stderr() { Exit::Usage as u8 } else { 0 };
            let _ = e.print();
            return ExitCode::from(code);
        }
    };
    match run(&cli) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(e) => {
            // A reader that went away (nettune check | head) is no failure of ours.
            if broken_pipe(&e) {
                return ExitCode::SUCCESS;
            }
            let exit = e.downcast_ref::<Refusal>().map_or(Exit::Failed, |r| r.exit);
            report(&cli).error(&e, exit);
            ExitCode::from(exit as u8)
        }
    }
}

/// As Cli::try_parse does it, but that what was built for it is left to the end of the process: it has some thousand pieces.
fn parsed() -> Result<Cli, clap::Error> {
    let mut command = std::mem::ManuallyDrop::new(Cli::command());
    let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|e| e.format(&mut command))
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|e| {
        e.downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

fn run(cli: &Cli) -> Result<Exit> {
    let session = Session { cli };
    fits(cli)?;
    match &cli.command {
        Command::Facts => look::facts(&session),
        Command::Check(args) if args.deep => deep::check(&session, &args.choice),
        Command::Check(args) => look::check(&session, args),
        Command::Plan(args) => look::plan(&session, &args.choice, args.form.is_some()),
        Command::Apply(args) => change::apply(&session, args),
        Command::Verify => look::verify(&session),
        Command::Bake(args) => bake::bake(&session, args),
        Command::Status { output } => look::status(&session, output),
        Command::Cilium { what: CiliumCommand::Values(args) } => cilium::values(&session, args),
        Command::Cilium { what: CiliumCommand::Diff(args) } => cilium::diff(&session, args),
        Command::Confirm => confirm::confirm(&session),
        Command::Watch { run } => confirm::watch(&session, run),
        Command::Log { run } => log::log(&session, run.as_deref()),
        Command::Rollback(RollbackArgs { run: Some(run), .. }) => log::take_back(&session, run),
        Command::Rollback(args) => change::rollback(&session, args),
        Command::Journal { what } => journal::journal(&session, what.as_ref()),
        Command::Doctor(args) => doctor::doctor(&session, args),
        Command::List { what } => about::list(&session, *what),
        Command::Show { profile, sets } => about::show(&session, profile, &sets.set),
        Command::Explain { tweak } => about::explain(&session, tweak),
        Command::Completions { shell } => generate::completions(*shell),
        Command::Man { verb, list } => manual::man(verb.as_deref(), *list),
        Command::Schema => generate::schema(),
    }
}

/// A form belongs to a verb, and a file to a form.
fn fits(cli: &Cli) -> Result<()> {
    let output = match &cli.command {
        Command::Check(args) => args.output.output.is_some(),
        Command::Status { output } => output.output.is_some(),
        _ => false,
    };
    let text = match (cli.global.format, &cli.command) {
        (Format::Nfd, Command::Check(_)) | (Format::Prometheus, Command::Status { .. }) => {
            return Ok(());
        }
        (Format::Markdown | Format::Html, Command::Check(CheckArgs { deep: false, .. }))
        | (Format::Markdown | Format::Html, Command::Plan(_) | Command::Log { run: None })
            if !output =>
        {
            return Ok(());
        }
        (Format::Markdown | Format::Html, _) => {
            "--format markdown and html are for check, plan and log"
        }
        (Format::Nfd, _) => "--format nfd is for check",
        (Format::Prometheus, _) => "--format prometheus is for status",
        _ if output => "--output goes with --format nfd or prometheus",
        _ => return Ok(()),
    };
    Err(Refusal::with(Exit::Usage, text))
}
