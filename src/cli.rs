//! The command line.

use std::path::{Path, PathBuf};

use crate::VERSION;
use crate::engine::confirm::MOST_SECONDS;
use crate::model::reach::Reach;
use clap::{Args, Parser, Subcommand, ValueEnum};

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
    #[arg(long, global = true)]
    pub json: bool,
    /// Form of the result
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, conflicts_with = "json")]
    pub format: Format,
    /// Colour the table
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Show every change and need of each tweak
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Root of the live host, as a container sees it
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    pub host: PathBuf,
    /// Where the journal is kept [default: /var/lib/nettune below --host]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where a run waits for its confirmation [default: /run/nettune below --host]
    #[arg(long, global = true, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Wait so long for another nettune to finish
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 0,
          value_parser = seconds::<0>)]
    pub wait: u32,
}

/// At most a day: whatever is added to it stays a time.
fn seconds<const LEAST: u32>(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|n| (LEAST..=MOST_SECONDS).contains(n));
    number.ok_or_else(|| format!("it is a whole number from {LEAST} to {MOST_SECONDS}"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
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
        run: Option<String>,
    },
    /// Whether the journal is whole, and what can still be had of it where it is not
    Journal {
        #[command(subcommand)]
        what: Option<JournalCommand>,
    },
    /// List profiles or tweaks
    List {
        #[arg(value_enum, value_name = "profiles|tweaks")]
        what: Listed,
    },
    /// A profile resolved, with the origin of every value
    Show {
        profile: String,
        #[command(flatten)]
        sets: Sets,
    },
    /// What a tweak does, costs and needs, and how it stands on this node
    Explain { tweak: String },
    /// Make an image of a node boot tuned, check that it still does, or take that out again
    Bake(BakeArgs),
    /// Completions for a shell, on standard output
    Completions { shell: clap_complete::Shell },
    /// The manual page, on standard output
    Man,
    /// JSON Schema of what --json prints
    Schema,
    /// Take a run back when nobody confirms it in time
    #[command(hide = true)]
    Watch { run: String },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Listed {
    Profiles,
    Tweaks,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub choice: Choice,
    #[command(flatten)]
    pub output: Output,
    /// Ask the kernel's BPF and, with --link NAME --accept link-reset, that link's driver: a program
    /// that lets everything pass is attached there in native mode and taken off again
    #[arg(long)]
    pub deep: bool,
    /// Show each row of Cilium's also where neither Cilium nor a kubelet is: what it could take here
    #[arg(long)]
    pub cilium: bool,
    /// End with 10 where apply would change something, also what is held: for scripts
    #[arg(long)]
    pub exit_code: bool,
}

#[derive(Debug, Args, Default)]
pub struct Output {
    /// With --format nfd or prometheus: write this file, whole or not at all
    #[arg(long, value_name = "PATH")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum CiliumCommand {
    /// Helm values: the most that all these nodes can take
    Values(ValuesArgs),
    /// The live configuration against what these nodes can take: exit 0 the same, 4 not
    Diff(DiffArgs),
}

#[derive(Debug, Args)]
pub struct ValuesArgs {
    /// The version of Cilium [default: that of the profile's [cilium], else the oldest of the agents,
    /// else the newest]
    #[arg(long, value_name = "VERSION")]
    pub cilium: Option<String>,
    /// A helm command line instead of YAML
    #[arg(long, conflicts_with = "node_configs")]
    pub command: bool,
    /// CiliumNodeConfig objects for groups of like nodes: what only new nodes may take
    #[arg(long)]
    pub node_configs: bool,
    /// Set what only new nodes may take as well
    #[arg(long)]
    pub new_nodes: bool,
    /// The profile to check this node by, where no reports are given
    #[arg(short, long, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// What check --json wrote on each node: files, folders of *.json, or - [default: this node]
    pub reports: Vec<String>,
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The version of Cilium [default: that of the agents, else of the profile, else the newest]
    #[arg(long, value_name = "VERSION")]
    pub cilium: Option<String>,
    /// kubectl get cm -n kube-system cilium-config -o yaml (or json), or - [default: the local agent]
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// The profile to check this node by, where no reports are given
    #[arg(short, long, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// What check --json wrote on each node: files, folders of *.json, or - [default: this node]
    pub reports: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Leave out the lines that cannot be read: shows what is lost with them and what stays owned
    Repair {
        /// Do it; the journal and undo.sh are kept beside it as they are
        #[arg(long)]
        write: bool,
    },
}

/// Which profile, and which part of it.
#[derive(Debug, Args, Default)]
pub struct Choice {
    /// A profile by name or path [default: that of /etc/nettune/nettune.toml, else cilium-max]
    #[arg(short, long, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// Only these tweaks; all others stay as they are
    #[arg(long, value_name = "TWEAK", value_delimiter = ',')]
    pub only: Vec<String>,
    /// All but these tweaks
    #[arg(long, value_name = "TWEAK", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Only these links; all others, and what belongs to no link, stay as they are
    #[arg(long, value_name = "LINK", value_delimiter = ',')]
    pub link: Vec<String>,
    #[command(flatten)]
    pub sets: Sets,
    /// Impacts that are accepted besides what the node's state allows
    #[arg(long, value_name = "IMPACT", value_delimiter = ',')]
    pub accept: Vec<String>,
    /// Blockers are an error (exit 5); with apply, any failure undoes the whole run
    #[arg(long)]
    pub strict: bool,
}

#[derive(Debug, Args, Default)]
pub struct Sets {
    /// Override a value of the profile
    #[arg(long = "set", value_name = "TWEAK.KEY=VALUE")]
    pub set: Vec<String>,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub choice: Choice,
    /// Print the plan as a shell script with the ordinary tools
    #[arg(long = "as", value_name = "FORM", value_enum)]
    pub form: Option<Form>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    Script,
}

/// A run that is taken back unless it is confirmed.
#[derive(Debug, Args, Default)]
pub struct ConfirmArgs {
    /// Take it all back unless `nettune confirm` comes within so many seconds, or when a probe that
    /// answered before does not answer afterwards
    #[arg(long, value_name = "SECONDS", conflicts_with = "dry_run",
          value_parser = seconds::<1>)]
    pub confirm: Option<u32>,
    /// What must still answer: tcp:ADDRESS:PORT or icmp:ADDRESS [default: the gateways, SSH peers and
    /// the API server that answer before]
    #[arg(long, value_name = "PROBE", requires = "confirm")]
    pub probe: Vec<Reach>,
}

#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    pub choice: Choice,
    /// A failure of one tweak undoes the whole run (exit 1)
    #[arg(long)]
    pub atomic: bool,
    /// Show the plan and change nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub confirm: ConfirmArgs,
    /// Bring the profile back at every boot; with --confirm, once it is confirmed
    #[arg(long)]
    pub persist: bool,
    /// Which run of a boot this is
    #[arg(long, hide = true, value_enum, conflicts_with_all = ["persist", "dry_run", "confirm"])]
    pub boot: Option<Boot>,
    /// Links of an early run whose profile names none
    #[arg(long, hide = true, requires = "boot")]
    pub uplink: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Boot {
    /// Before the network: what needs a quiet link
    Early,
    /// With the network: everything
    Late,
    /// A link that came later
    Link,
}

#[derive(Debug, Args)]
pub struct BakeArgs {
    /// Root file system of the image; with --image-build / itself
    #[arg(long, value_name = "DIR")]
    pub root: PathBuf,
    /// A profile by name or path, of the machine that builds
    #[arg(short, long, value_name = "PROFILE", conflicts_with_all = ["check", "undo"])]
    pub profile: Option<String>,
    #[command(flatten)]
    pub sets: Sets,
    /// / is an image that is being built, and no node
    #[arg(long)]
    pub image_build: bool,
    /// The image's kernel comes from elsewhere
    #[arg(long)]
    pub without_kernel: bool,
    /// nettune of the image's architecture [default: this one]
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// A kernel that lacks what the profile wants is an error (exit 5)
    #[arg(long)]
    pub strict: bool,
    /// Does the image still hold what was baked
    #[arg(long, conflicts_with = "undo")]
    pub check: bool,
    /// Take out what was baked, byte for byte
    #[arg(long)]
    pub undo: bool,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Tweaks to roll back; all when none is named
    pub tweaks: Vec<String>,
    /// Only these links
    #[arg(long, value_name = "LINK", value_delimiter = ',')]
    pub link: Vec<String>,
    /// Show what would be put back and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Leave what resets a link for the next boot
    #[arg(long)]
    pub gentle: bool,
    /// Put the old value back even where somebody else has changed it since
    #[arg(long)]
    pub force: bool,
    /// Take one run back, to what was before it: a run as log names it, or last
    #[arg(long, value_name = "RUN",
          conflicts_with_all = ["tweaks", "link", "dry_run", "gentle", "force", "confirm"])]
    pub run: Option<String>,
    #[command(flatten)]
    pub confirm: ConfirmArgs,
}

impl Choice {
    /// As it is typed, without the profile and what is accepted: for a command that goes on from here.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (option, values) in
            [("--only", &self.only), ("--skip", &self.skip), ("--link", &self.link)]
        {
            if !values.is_empty() {
                words.extend([option.to_string(), values.join(",")]);
            }
        }
        for set in &self.sets.set {
            words.extend(["--set".to_string(), set.clone()]);
        }
        words.extend(self.strict.then(|| "--strict".to_string()));
        words
    }
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
            Command::List { .. } => "list",
            Command::Show { .. } => "show",
            Command::Explain { .. } => "explain",
            Command::Completions { .. } => "completions",
            Command::Man => "man",
            Command::Schema => "schema",
            Command::Watch { .. } => "watch",
        }
    }
}
