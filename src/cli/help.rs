//! What a verb's help and its manual page have beside the options: examples, files, exit codes, and which of the options of all verbs
//! it takes.

pub struct Page {
    pub verb: &'static str,
    /// What it does, where one line does not say it.
    pub text: &'static str,
    /// Of the options of all verbs those that mean something here.
    pub takes: &'static [&'static str],
    /// A command line, and what it is for.
    pub examples: &'static [(&'static str, &'static str)],
    /// Other pages.
    pub see: &'static [&'static str],
}

const NONE: &[&str] = &[];
const PRINTS: &[&str] = &["json", "format", "color", "host"];
const LOOKS: &[&str] = &["json", "format", "color", "verbose", "host", "state_dir", "run_dir"];
const WRITES: &[&str] =
    &["json", "format", "color", "verbose", "host", "state_dir", "run_dir", "wait"];

pub const PAGES: &[Page] = &[
    Page {
        verb: "facts",
        text: "All that nettune goes by, as it read it: what it cannot read is said to be \
            unknown. Nothing is changed.",
        takes: PRINTS,
        examples: &[
            ("nettune facts", "kernel, CPUs, links and agents of this node"),
            ("nettune facts --json", "the same for a program"),
        ],
        see: &["check"],
    },
    Page {
        verb: "check",
        text: "One row a tweak: whether it would change something, holds, is held for your word, \
            is blocked (with what mends it), or cannot be had by this kernel, driver or node. \
            The next command is named. Nothing is changed.",
        takes: LOOKS,
        examples: &[
            ("nettune check", "what this node can take of the node's profile, else of cilium-max"),
            ("nettune check -p network-latency -v", "of another one, each reason at length"),
            ("nettune check --only mtu,irq --link eth0", "two tweaks on one link"),
            ("nettune check --exit-code", "10 where apply would change something: for scripts"),
        ],
        see: &["plan", "explain", "apply"],
    },
    Page {
        verb: "plan",
        text: "What apply would change and put back, with the values, by what making it does to \
            traffic. The plan id is the same on nodes whose changes are the same. Nothing is \
            changed.",
        takes: LOOKS,
        examples: &[
            ("nettune plan -p cilium-max", "each change, by what it does to traffic"),
            ("nettune plan -p cilium-max --as script", "as a shell script of ordinary tools"),
        ],
        see: &["check", "apply"],
    },
    Page {
        verb: "apply",
        text: "Makes the changes of plan, each written to the journal before it is made. What \
            resets a link, needs the fabric's consent or takes packets past netfilter waits for \
            --accept on a node where pods run. A tweak that fails is undone; the others stay. \
            Ctrl-C and SIGTERM end it after the change at hand.",
        takes: WRITES,
        examples: &[
            ("sudo nettune apply -p cilium-max", "all that disturbs nobody"),
            (
                "sudo nettune apply -p cilium-max --confirm 120",
                "taken back in two minutes unless nettune confirm comes",
            ),
            (
                "sudo nettune apply -p cilium-max --accept link-reset --only nic,irq",
                "also what stops a link for a moment, of two tweaks",
            ),
            ("sudo nettune apply -p cilium-max --persist", "and again at each boot"),
        ],
        see: &["plan", "confirm", "verify", "rollback"],
    },
    Page {
        verb: "verify",
        text: "Reads every value that is applied, and those that were as wanted when it was \
            applied, and names what is not so any more, and who may have changed it.",
        takes: LOOKS,
        examples: &[("nettune verify", "4 where somebody has changed a value since")],
        see: &["status", "apply"],
    },
    Page {
        verb: "status",
        text: "What the journal says: the profile, its run and plan, the tweaks and how many \
            values each holds, and what waits to be confirmed or finished. Values are read by \
            verify.",
        takes: LOOKS,
        examples: &[
            ("nettune status", "which profile, which run, since when"),
            ("nettune status -v", "with every value"),
            (
                "nettune status --format prometheus --output /var/lib/node_exporter/nettune.prom",
                "for node_exporter's textfile collector",
            ),
        ],
        see: &["verify", "log"],
    },
    Page {
        verb: "cilium",
        text: "values prints what the agents of these nodes can take as Helm values; diff holds \
            a live configuration against it. Cilium itself is asked and never written.",
        takes: LOOKS,
        examples: &[
            ("nettune cilium values", "Helm values that this node can take"),
            ("nettune cilium values reports/", "that all nodes can take which wrote reports there"),
            ("nettune cilium diff", "what the local agent does beside that"),
        ],
        see: &["check"],
    },
    Page {
        verb: "confirm",
        text: "Ends the wait of apply --confirm or rollback --confirm, and keeps what was done.",
        takes: WRITES,
        examples: &[("sudo nettune confirm", "what apply --confirm did stays")],
        see: &["apply", "rollback"],
    },
    Page {
        verb: "rollback",
        text: "Puts back what was there before nettune wrote it, tweak by tweak or all of it. \
            What somebody else has changed since is left alone and named, unless --force is \
            given. It works after any crash, and /var/lib/nettune/undo.sh does it without \
            nettune.",
        takes: WRITES,
        examples: &[
            ("sudo nettune rollback", "every value goes back"),
            ("sudo nettune rollback mtu irq", "those of two tweaks"),
            ("sudo nettune rollback --run last", "the newest run, to what was before it"),
            ("nettune rollback --dry-run", "what would go back"),
        ],
        see: &["log", "status", "apply"],
    },
    Page {
        verb: "log",
        text: "Runs with when, who, the command, profile and plan, and how they ended; with RUN \
            what that one changed.",
        takes: LOOKS,
        examples: &[
            ("nettune log", "when, by whom, by which command"),
            ("nettune log last", "what the newest run changed"),
        ],
        see: &["status", "rollback"],
    },
    Page {
        verb: "journal",
        text: "Whether the journal can be read whole. repair shows what is lost with lines that \
            cannot be read, and with --write goes on without them; the damaged one is kept.",
        takes: WRITES,
        examples: &[
            ("nettune journal", "is it whole"),
            ("nettune journal repair", "what can still be had of it"),
            ("sudo nettune journal repair --write", "and go on with that"),
        ],
        see: &["rollback"],
    },
    Page {
        verb: "doctor",
        text: "Facts, check, verify, status and log of this node as JSON, what was read for them, and the profile, in one \
            archive that only its owner can read. Contents of files, values of unknown kernel parameters and keys are \
            left out. --read checks such a node again, in memory and without the node.",
        takes: LOOKS,
        examples: &[
            ("sudo nettune doctor", "for a report of a fault"),
            ("nettune doctor --read nettune-node1-20261130.tar.gz", "the check of that node"),
        ],
        see: &["check", "facts"],
    },
    Page {
        verb: "list",
        text: "Profiles that can be named, with where each is from, or the tweaks.",
        takes: PRINTS,
        examples: &[("nettune list profiles", ""), ("nettune list tweaks", "")],
        see: &["show", "explain"],
    },
    Page {
        verb: "show",
        text: "A profile with its includes and --set laid over one another, and the file that \
            each value is from.",
        takes: PRINTS,
        examples: &[
            ("nettune show cilium-max", "every value, and where it is from"),
            ("nettune show cilium-max --set mtu.mtu=9000", "as it is with that"),
        ],
        see: &["list"],
    },
    Page {
        verb: "explain",
        text: "What a tweak does, what it costs and needs, where that is from, its keys, and how \
            it stands on this node.",
        takes: LOOKS,
        examples: &[("nettune explain irq", "what it does, costs and needs, and how it is here")],
        see: &["list", "check"],
    },
    Page {
        verb: "bake",
        text: "Writes into the root of an image what makes a node of it boot tuned: files, units \
            and the binary, after asking every kernel in it. --check tells whether it still \
            holds that, --undo takes it out byte for byte.",
        takes: PRINTS,
        examples: &[
            ("sudo nettune bake --root /mnt/image -p cilium-max", "an image boots tuned"),
            ("sudo nettune bake --root /mnt/image --check", "does it still hold that"),
            ("sudo nettune bake --root /mnt/image --undo", "take it out, byte for byte"),
        ],
        see: &["apply"],
    },
    Page {
        verb: "completions",
        text: "A script for a shell, which asks nettune how a word goes on.",
        takes: NONE,
        examples: &[(
            "nettune completions bash",
            "to be sourced: words, profiles, tweaks, links, runs and keys",
        )],
        see: &["man"],
    },
    Page {
        verb: "man",
        text: "The page of nettune, or of a verb.",
        takes: NONE,
        examples: &[("nettune man apply", "the page of a verb, for man -l -")],
        see: &["completions"],
    },
    Page {
        verb: "schema",
        text: "JSON Schema (draft 2020-12) of what every verb prints with --json.",
        takes: NONE,
        examples: &[("nettune schema", "what every --json holds to")],
        see: &["check"],
    },
];

pub const FILES: &[(&str, &str)] = &[
    ("/etc/nettune/nettune.toml", "profile = \"NAME\": that of this node"),
    ("/etc/nettune/profiles/*.toml", "profiles of this node, before those of packages"),
    ("/usr/lib/nettune/profiles/*.toml", "profiles of packages"),
    ("/var/lib/nettune/journal.jsonl", "what was there before, for the way back"),
    ("/var/lib/nettune/history.jsonl", "runs that the journal has no need of any more"),
    ("/var/lib/nettune/undo.sh", "puts everything back without nettune"),
    ("/run/nettune", "runs that wait for nettune confirm"),
];

pub const EXITS: &[(&str, &str)] = &[
    ("0", "fine"),
    ("1", "failed, and what this run did was undone"),
    ("2", "the command line is wrong"),
    ("3", "nothing is applied, or nothing waits"),
    ("4", "drift: somebody else has changed a value since"),
    ("5", "blocked (--strict, required)"),
    ("6", "not all was put back"),
    ("7", "applied in part"),
    ("10", "changes wanted (check --exit-code)"),
    ("11", "another nettune holds the lock, or a run waits to be confirmed"),
    ("77", "needs root"),
    ("78", "bad profile or configuration, or a journal that cannot be read"),
];

pub fn page(verb: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.verb == verb)
}

pub fn examples(page: &Page) -> String {
    let mut text = "Examples:".to_string();
    for (line, what) in page.examples {
        text.push_str(&format!("\n  {line}"));
        if !what.is_empty() {
            text.push_str(&format!("\n      {what}"));
        }
    }
    text
}
