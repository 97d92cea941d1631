//! What the verbs take besides what all of them do.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::engine::{ArgValueCandidates as Values, ArgValueCompleter as Completer};

use super::complete;
use crate::engine::confirm::MOST_SECONDS;
use crate::model::reach::Reach;

/// Headings of the help.
const SCOPE: &str = "Scope";
const SAFETY: &str = "Safety";

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
    #[arg(long, value_name = "VERSION", add = Values::new(complete::versions))]
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
    #[arg(short, long, value_name = "PROFILE", add = Completer::new(complete::profile_or_file))]
    pub profile: Option<String>,
    /// What check --json wrote on each node: files, folders of *.json, or - [default: this node]
    pub reports: Vec<String>,
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The version of Cilium [default: that of the agents, else of the profile, else the newest]
    #[arg(long, value_name = "VERSION", add = Values::new(complete::versions))]
    pub cilium: Option<String>,
    /// kubectl get cm -n kube-system cilium-config -o yaml (or json), or - [default: the local agent]
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// The profile to check this node by, where no reports are given
    #[arg(short, long, value_name = "PROFILE", add = Completer::new(complete::profile_or_file))]
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
#[derive(Debug, Clone, Args, Default)]
pub struct Choice {
    /// A profile by name or path [default: that of /etc/nettune/nettune.toml, else cilium-max]
    #[arg(short, long, value_name = "PROFILE", help_heading = SCOPE,
          add = Completer::new(complete::profile_or_file))]
    pub profile: Option<String>,
    /// Only these tweaks; all others stay as they are
    #[arg(long, value_name = "TWEAK", value_delimiter = ',', help_heading = SCOPE,
          add = Values::new(complete::tweaks))]
    pub only: Vec<String>,
    /// All but these tweaks
    #[arg(long, value_name = "TWEAK", value_delimiter = ',', help_heading = SCOPE,
          add = Values::new(complete::tweaks))]
    pub skip: Vec<String>,
    /// Only these links; all others, and what belongs to no link, stay as they are
    #[arg(long, value_name = "LINK", value_delimiter = ',', help_heading = SCOPE,
          add = Values::new(complete::links))]
    pub link: Vec<String>,
    #[command(flatten)]
    pub sets: Sets,
    /// Impacts that are accepted besides what the node's state allows: new-flows, node, link-reset,
    /// path, bypass
    #[arg(long, value_name = "IMPACT", value_delimiter = ',', help_heading = SAFETY,
          add = Values::new(complete::impacts))]
    pub accept: Vec<String>,
    /// Blockers are an error (exit 5); with apply, any failure undoes the whole run
    #[arg(long, help_heading = SAFETY)]
    pub strict: bool,
}

#[derive(Debug, Clone, Args, Default)]
pub struct Sets {
    /// Override a value of the profile
    #[arg(long = "set", value_name = "TWEAK.KEY=VALUE", help_heading = SCOPE,
          add = Completer::new(complete::sets))]
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
#[derive(Debug, Clone, Args, Default)]
pub struct ConfirmArgs {
    /// Take it all back unless `nettune confirm` comes within so many seconds, or when a probe that
    /// answered before does not answer afterwards
    #[arg(long, value_name = "SECONDS", conflicts_with = "dry_run", help_heading = SAFETY,
          value_parser = seconds::<1>)]
    pub confirm: Option<u32>,
    /// What must still answer: tcp:ADDRESS:PORT or icmp:ADDRESS [default: the gateways, SSH peers and
    /// the API server that answer before]
    #[arg(long, value_name = "PROBE", requires = "confirm", help_heading = SAFETY)]
    pub probe: Vec<Reach>,
    /// Who is at the terminal is asked whether it stays.
    #[arg(skip)]
    pub prompt: bool,
}

#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    pub choice: Choice,
    /// A failure of one tweak undoes the whole run (exit 1)
    #[arg(long, help_heading = SAFETY)]
    pub atomic: bool,
    /// Show the plan and change nothing
    #[arg(long, help_heading = SAFETY)]
    pub dry_run: bool,
    #[command(flatten)]
    pub confirm: ConfirmArgs,
    /// Never ask: at a terminal a run that disturbs the link of this session is else taken back
    /// unless Enter is pressed
    #[arg(long, short, help_heading = SAFETY)]
    pub yes: bool,
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
pub struct DoctorArgs {
    /// A profile by name or path [default: that of /etc/nettune/nettune.toml, else cilium-max]
    #[arg(short, long, value_name = "PROFILE", add = Completer::new(complete::profile_or_file),
          conflicts_with = "read")]
    pub profile: Option<String>,
    /// Where to [default: nettune-NODE-TIME.tar.gz here]; no file may be there
    #[arg(short, long, value_name = "FILE", conflicts_with = "read")]
    pub output: Option<PathBuf>,
    /// Check the node of a report, by this nettune, on any machine
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub read: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct BakeArgs {
    /// Root file system of the image; with --image-build / itself
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub root: PathBuf,
    /// A profile by name or path, of the machine that builds
    #[arg(short, long, value_name = "PROFILE", conflicts_with_all = ["check", "undo"],
          add = Completer::new(complete::profile_or_file))]
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
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
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
    #[arg(value_name = "TWEAK", add = Values::new(complete::tweaks))]
    pub tweaks: Vec<String>,
    /// Only these links
    #[arg(long, value_name = "LINK", value_delimiter = ',', help_heading = SCOPE,
          add = Values::new(complete::links))]
    pub link: Vec<String>,
    /// Show what would be put back and change nothing
    #[arg(long, help_heading = SAFETY)]
    pub dry_run: bool,
    /// Leave what resets a link for the next boot
    #[arg(long, help_heading = SAFETY)]
    pub gentle: bool,
    /// Put the old value back even where somebody else has changed it since
    #[arg(long, help_heading = SAFETY)]
    pub force: bool,
    /// Take one run back, to what was before it: a run as log names it, or last
    #[arg(long, value_name = "RUN", help_heading = SCOPE, add = Values::new(complete::runs),
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

/// At most a day: whatever is added to it stays a time.
pub fn seconds<const LEAST: u32>(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|n| (LEAST..=MOST_SECONDS).contains(n));
    number.ok_or_else(|| format!("it is a whole number from {LEAST} to {MOST_SECONDS}"))
}
