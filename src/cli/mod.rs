//! The command line: here what all verbs take, and which there are; `args.rs` what each takes, `help.rs` examples and what
//! else a manual page has, `complete.rs` values for a shell that completes.
//! Uses names of profiles, tweaks and runs; nothing but the commands uses it.
//! Begin with `Command` here.

mod args;
mod complete;
pub mod help;

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCandidates as Values;

pub use self::args::{
    ApplyArgs, BakeArgs, Boot, CheckArgs, Choice, CiliumCommand, ConfirmArgs, DiffArgs, DoctorArgs,
    Form, JournalCommand, Listed, Output, PlanArgs, RollbackArgs, Sets, ValuesArgs, seconds,
};
use crate::VERSION;

/// Check, tune, verify and put back the network settings of this node
#[derive(Debug, Parser)]
#[command(name = "nettune", version = version(), max_term_width = 100, subcommand_required = true)]
#[command(
    after_help = "Exit codes: 0 fine, 1 failed and undone, 2 usage, 3 nothing applied, 4 drift,\n\
    5 blocked (--strict, required), 6 not all put back, 7 applied in part, 10 changes wanted (check --exit-code), 11 locked or unconfirmed,\n\
    77 needs root, 78 bad profile or configuration, or a journal that cannot be read"
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// "0.1.0 (COMMIT, x86_64)": what a report from the field has to say.
fn version() -> &'static str {
    let commit = option_env!("NETTUNE_COMMIT").unwrap_or("no release");
    // Once a process, as long as it lives.
    format!("{VERSION} ({commit}, {})", std::env::consts::ARCH).leak()
}

#[derive(Debug, Args)]
pub struct Global {
    /// Print one JSON object instead of a table
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// Form of the result
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, conflicts_with = "json",
          help_heading = "Output")]
    pub format: Format,
    /// Colour the table
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, help_heading = "Output")]
    pub color: Color,
    /// Show every change and need of each tweak
    #[arg(short, long, global = true, help_heading = "Output")]
    pub verbose: bool,
    /// Root of the live host, as a container sees it
    #[arg(long, global = true, value_name = "DIR", default_value = "/", help_heading = "Places",
          value_hint = clap::ValueHint::DirPath)]
    pub host: PathBuf,
    /// Where the journal is kept [default: /var/lib/nettune below --host]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Places",
          value_hint = clap::ValueHint::DirPath)]
    pub state_dir: Option<PathBuf>,
    /// Where a run waits for its confirmation [default: /run/nettune below --host]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Places",
          value_hint = clap::ValueHint::DirPath)]
    pub run_dir: Option<PathBuf>,
    /// Wait so long for another nettune to finish
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 0,
          value_parser = seconds::<0>, help_heading = "Places")]
    pub wait: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    /// A table for a ticket (check, plan, log)
    Markdown,
    /// One page that needs nothing from elsewhere (check, plan, log)
    Html,
    /// Labels for Node Feature Discovery (check)
    Nfd,
    /// Text for node_exporter's textfile collector (status)
    Prometheus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// What this node is
    Facts,
    /// What this node can take: one row a tweak
    Check(CheckArgs),
    /// Every change that apply would make
    Plan(PlanArgs),
    /// Make it so
    Apply(ApplyArgs),
    /// Does the node still hold what was applied
    Verify,
    /// What is applied, by which profile, since when
    Status {
        #[command(flatten)]
        output: Output,
    },
    /// What Cilium should be told, from what its nodes can take
    Cilium {
        #[command(subcommand)]
        what: CiliumCommand,
    },
    /// Keep what apply --confirm or rollback --confirm did
    Confirm,
    /// Put it back
    Rollback(RollbackArgs),
    /// What was done here: when, by whom, by which command; with RUN its changes
    Log {
        /// A run as log names it, its time, or last
        #[arg(add = Values::new(complete::runs))]
        run: Option<String>,
    },
    /// Whether the journal is whole, and what can still be had of it where it is not
    Journal {
        #[command(subcommand)]
        what: Option<JournalCommand>,
    },
    /// All that nettune sees of this node, in one file for somebody who is not here
    Doctor(DoctorArgs),
    /// List profiles or tweaks
    List {
        #[arg(value_enum, value_name = "profiles|tweaks")]
        what: Listed,
    },
    /// A profile resolved, with the origin of every value
    Show {
        #[arg(add = Values::new(complete::profiles))]
        profile: String,
        #[command(flatten)]
        sets: Sets,
    },
    /// What a tweak does, costs and needs, and how it stands on this node
    Explain {
        #[arg(add = Values::new(complete::tweaks))]
        tweak: String,
    },
    /// Make an image of a node boot tuned, check that it still does, or take that out again
    Bake(BakeArgs),
    /// Completions for a shell, on standard output
    Completions { shell: clap_complete::Shell },
    /// The manual page of nettune or of a verb, on standard output
    Man {
        /// A verb, as in `nettune man apply`
        #[arg(add = Values::new(complete::verbs))]
        verb: Option<String>,
        /// The names of all pages, one a line
        #[arg(long, conflicts_with = "verb")]
        list: bool,
    },
    /// JSON Schema of what --json prints
    Schema,
    /// Take a run back when nobody confirms it in time
    #[command(hide = true)]
    Watch { run: String },
}

impl Global {
    /// As they are typed, where they are not the default.
    pub fn words(&self) -> Vec<String> {
        let host = Some(&self.host).filter(|host| **host != Path::new("/"));
        let all = [
            ("--host", host),
            ("--state-dir", self.state_dir.as_ref()),
            ("--run-dir", self.run_dir.as_ref()),
        ];
        let given = all.into_iter().filter_map(|(option, path)| Some((option, path?)));
        given.flat_map(|(option, path)| [option.to_string(), path.display().to_string()]).collect()
    }
}

impl Command {
    pub fn choice(&self) -> Option<&Choice> {
        match self {
            Command::Check(args) => Some(&args.choice),
            Command::Plan(args) => Some(&args.choice),
            Command::Apply(args) => Some(&args.choice),
            _ => None,
        }
    }

    /// As it is typed.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Facts => "facts",
            Command::Check(_) => "check",
            Command::Plan(_) => "plan",
            Command::Apply(_) => "apply",
            Command::Verify => "verify",
            Command::Bake(_) => "bake",
            Command::Status { .. } => "status",
            Command::Cilium { what: CiliumCommand::Values(_) } => "cilium values",
            Command::Cilium { what: CiliumCommand::Diff(_) } => "cilium diff",
            Command::Confirm => "confirm",
            Command::Rollback(_) => "rollback",
            Command::Log { .. } => "log",
            Command::Journal { .. } => "journal",
            Command::Doctor(_) => "doctor",
            Command::List { .. } => "list",
            Command::Show { .. } => "show",
            Command::Explain { .. } => "explain",
            Command::Completions { .. } => "completions",
            Command::Man { .. } => "man",
            Command::Schema => "schema",
            Command::Watch { .. } => "watch",
        }
    }
}

/// The command line with all that its help has. Parsing needs none of it.
pub fn dressed() -> clap::Command {
    let mut command = Cli::command();
    let all: Vec<clap::Arg> =
        command.get_arguments().filter(|a| a.is_global_set()).cloned().collect();
    for page in help::PAGES {
        // Its own of that name stands in place of the one of all verbs.
        let hidden = all.iter().filter(|a| !page.takes.contains(&a.get_id().as_str()));
        command = command.mut_subcommand(page.verb, |verb| {
            hidden.fold(verb, |verb, arg| verb.arg(arg.clone().hide(true)))
        });
        command = command.mut_subcommand(page.verb, |verb| {
            let about = verb.get_about().map(|text| text.to_string()).unwrap_or_default();
            verb.long_about(format!("{about}\n\n{}", page.text)).after_help(help::examples(page))
        });
    }
    command
}

#[cfg(test)]
mod tests {
    use super::help::{PAGES, page};
    use super::*;

    #[test]
    fn each_verb_has_a_page_and_each_example_is_a_command() {
        let command = dressed();
        let verbs = command.get_subcommands().filter(|c| !c.is_hide_set());
        let verbs: Vec<&str> = verbs.map(|c| c.get_name()).filter(|n| *n != "help").collect();
        assert_eq!(verbs.len(), PAGES.len());
        for verb in verbs {
            let found = page(verb).unwrap_or_else(|| panic!("{verb} has no page"));
            for (line, _) in found.examples {
                let words: Vec<&str> = line.trim_start_matches("sudo ").split(' ').collect();
                assert_eq!(words[1], verb, "{line}");
                Cli::try_parse_from(&words).unwrap_or_else(|e| panic!("{line}: {e}"));
            }
            assert!(found.see.iter().all(|see| page(see).is_some()), "{verb}");
        }
    }

    #[test]
    fn help_shows_the_options_that_a_verb_takes() {
        let of = |verb: &str| {
            let asked = dressed().try_get_matches_from(["nettune", verb, "--help"]);
            let help = asked.unwrap_err();
            assert_eq!(help.kind(), clap::error::ErrorKind::DisplayHelp, "{verb}: {help}");
            help.to_string()
        };
        for page in help::PAGES {
            assert!(of(page.verb).contains("Examples:"), "{}", page.verb);
        }
        assert!(of("apply").contains("--wait") && of("apply").contains("Safety:"));
        assert!(!of("check").contains("--wait"));
        assert!(!of("schema").contains("      --json"), "{}", of("schema"));
    }
}
