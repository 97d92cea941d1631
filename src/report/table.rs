//! Tables for people: grouped by what the reader can do next.

use tabled::builder::Builder;
use tabled::settings::peaker::PriorityMax;
use tabled::settings::style::Style as TableStyle;
use tabled::settings::{Padding, Width};

use super::grid::{Grid, trimmed};
use super::json::rows::plan_id;
use super::page::{Page, Table};
use super::rows::{lines, short};
use super::text::{Style, clean, status_name};
use super::verdict::{held, verdict};
use super::view::{Applied, Manner, View};
use crate::engine::Exit;
use crate::engine::reason::Reason;
use crate::engine::row::{Row, Status};
use crate::model::cpulist;
use crate::model::facts::{Fact, Facts, Link};
use crate::model::uplinks::uplinks;
use crate::model::{Outcome, Side};
use crate::profile::Profile;

/// Width of the first column: the longest name of rows that get a line of their own.
pub(super) fn name_width<'a>(rows: impl IntoIterator<Item = &'a Row>) -> usize {
    rows.into_iter().map(|r| r.name.len()).max().unwrap_or(0).max(10) + 3
}

pub(super) struct Group {
    pub title: &'static str,
    /// The next step, at the right edge.
    pub hint: String,
    pub statuses: &'static [Status],
}

pub fn answer(view: &View, style: &Style, manner: &Manner) -> String {
    let Manner { verbose, cilium, only, .. } = *manner;
    let mut out = head(view, style);
    let folded = !cilium && super::cilium::foreign(view);
    let here = |row: &&Row| !(folded && row.side == Side::Cilium && row.ciliums);
    let rows: Vec<&Row> = view.answer.rows.iter().filter(here).collect();
    out.extend(verdict(view, &rows, style.width, manner));
    let changing = matches!(view.verb, "apply" | "rollback");
    // Cilium's have longer names, and a group of their own.
    let own =
        |r: &&Row| !super::cilium::shown(r) && (r.status != Status::Off || view.verb == "rollback");
    let width = name_width(rows.iter().copied().filter(own));
    let (brief, mut more) = (view.verb == "check" && !verbose && !only, false);
    let back = put_back(view);
    let applied = view.verb == "apply" && !verbose && !only;
    let done = |r: &&Row| matches!(r.status, Status::Applied | Status::Held | Status::Failed);
    let did = rows.iter().any(done);
    for group in groups(view) {
        let ciliums = group.statuses[0] == Status::Cilium;
        let in_group = |r: &&&Row| match (ciliums, super::cilium::shown(r)) {
            (true, shown) => shown,
            (false, shown) => !shown && group.statuses.contains(&r.status),
        };
        let of: Vec<&Row> = rows.iter().filter(in_group).copied().collect();
        if of.is_empty() {
            continue;
        }
        // What was not asked of this run is the map's, which check has.
        let named = match group.statuses[0] {
            Status::Off => view.verb != "rollback",
            Status::Ok => brief || applied,
            // The run is what was asked for, and not what the node is; where it comes to nothing for these, all is said.
            Status::Blocked | Status::Unknown => {
                applied && did && view.answer.exit != Exit::Blocked
            }
            Status::Unsupported | Status::Cilium => applied,
            _ => false,
        };
        let why = "nettune check says why";
        let hint = if named && group.statuses[0] == Status::Blocked { why } else { &group.hint };
        out.push_str(&title(group.title, hint, style));
        if named {
            let mut line = |head: &str, asked: bool| {
                let named = of.iter().filter(|r| r.reasons.contains(&Reason::NotAsked) != asked);
                let names: Vec<&str> = named.map(|r| r.name.as_str()).collect();
                if !names.is_empty() {
                    let text = format!("{head}{}", names.join(" "));
                    out.push_str(&super::text::wrap(&text, style.width, "  "));
                    out.push('\n');
                }
            };
            line("", true);
            line("not asked for by --link: ", false);
            continue;
        }
        if ciliums && view.verb != "explain" {
            let width = name_width(of.iter().copied());
            out.push_str(&super::cilium::group(&of, view, style, width, verbose));
            continue;
        }
        let mut grid = Grid::new(style, width).off_is(back.1);
        for row in of {
            let lines = match brief {
                true => short(row, &mut more),
                false => lines(row, verbose, changing),
            };
            grid.push(row, &lines);
        }
        out.push_str(&grid.render());
    }
    if more {
        let rest = "nettune explain TWEAK has the rest of a row that ends in (+), and -v of all";
        out.push_str(&(super::text::wrap(rest, style.width, "") + "\n"));
    }
    if rows.len() < view.answer.rows.len() {
        let none = "no Cilium here: nettune check --cilium shows what it could take";
        out.push_str(&(super::text::wrap(none, style.width, "") + "\n"));
    }
    if view.answer.rows.is_empty() {
        out.push_str(match view.verb {
            "rollback" => "nothing to put back\n",
            "verify" => "nothing is applied\n",
            _ => "no tweak was chosen\n",
        });
    }
    out
}

pub(super) fn groups(view: &View) -> Vec<Group> {
    let profile = view.profile.map(|p| p.name.as_str()).unwrap_or("PROFILE");
    let apply = format!("sudo nettune apply -p {}", clean(profile));
    let values = super::cilium::next(view);
    let looking = matches!(view.verb, "check" | "explain");
    let hint = |text: &str| if looking { text.to_string() } else { String::new() };
    let group = |title, hint: String, statuses| Group { title, hint, statuses };
    let mut groups = vec![
        group("FAILED, AND UNDONE", String::new(), &[Status::Failed][..]),
        group("SOMEBODY ELSE CHANGED IT", force(view), &[Status::Drifted]),
        // What check says first leads there.
        group(
            "WOULD CHANGE",
            if view.verb == "explain" { apply } else { String::new() },
            &[Status::Ready],
        ),
        group("HELD FOR YOUR WORD", held(view), &[Status::Held]),
        group("APPLIED", String::new(), &[Status::Applied]),
        group("ALREADY SO", String::new(), &[Status::Ok]),
        group("BLOCKED, YOURS TO MEND", String::new(), &[Status::Blocked]),
        group("COULD NOT TELL", String::new(), &[Status::Unknown]),
        group("CILIUM'S, live -> wanted", hint(&values), &[Status::Cilium]),
        group("CANNOT HERE", String::new(), &[Status::Unsupported]),
        group("OFF", String::new(), &[Status::Off]),
    ];
    if view.verb == "rollback"
        && let Some(off) = groups.iter_mut().find(|g| g.statuses[0] == Status::Off)
    {
        off.title = put_back(view).0;
    }
    groups
}

/// Offered where it would write anything: what was met and is lost is not nettune's.
pub(super) fn force(view: &View) -> String {
    let reasons = view.answer.rows.iter().flat_map(|r| &r.reasons);
    let ours = |r: &Reason| matches!(r, Reason::Drift { .. } | Reason::Lost { .. });
    match (reasons.into_iter().any(ours), view.verb) {
        (false, _) => String::new(),
        (true, "verify") => "apply sets it again; rollback --force puts it back".into(),
        (true, _) => "rollback --force".into(),
    }
}

/// What a rollback's rows are: their title, and their status in a word.
fn put_back(view: &View) -> (&'static str, &'static str) {
    let mut made = view.answer.rows.iter().flat_map(|r| &r.changes);
    match (view.verb, made.any(|(_, outcome)| *outcome == Outcome::Planned)) {
        ("rollback", true) => ("WOULD PUT BACK", "goes back"),
        ("rollback", false) => ("PUT BACK", "put back"),
        _ => ("OFF", "off"),
    }
}

/// With the next step at the right edge.
pub(super) fn title(text: &str, hint: &str, style: &Style) -> String {
    let room = style.width.saturating_sub(text.len() + hint.len());
    let line = match hint.is_empty() {
        true => style.bold(text),
        false if room < 2 => {
            format!("{}\n{}", style.bold(text), super::text::wrap(hint, style.width, "  "))
        }
        false => format!("{}{}{hint}", style.bold(text), " ".repeat(room.max(2))),
    };
    format!("{line}\n")
}

pub(super) fn head(view: &View, style: &Style) -> String {
    let fit = |line: &String| match clean(line) {
        short if short.chars().count() <= style.width => short,
        long => super::text::wrap(&long, style.width, ""),
    };
    about(view).iter().map(|l| fit(l) + "\n").collect()
}

/// The node, and how it stands, in two lines.
pub(super) fn about(view: &View) -> [String; 2] {
    let facts = view.facts;
    let mut first = vec![facts.node.name.clone()];
    // QEMU's own are half a line, and nobody's instance type.
    let short = |machine: &&String| machine.len() <= 24;
    if let Some(machine) = facts.node.machine_type.as_ref().filter(short) {
        first.push(format!("{machine} {}", facts.kernel.arch));
    } else {
        first.push(facts.kernel.arch.clone());
    }
    first.push(facts.kernel.release.clone());
    let applied = Applied::of(&view.store.ledger, Vec::new());
    let state = match (applied.tweaks.is_empty(), view.store.unreadable) {
        (_, true) => "applied: unknown".to_string(),
        (true, _) => "nothing applied".to_string(),
        (false, _) => format!("applied: {}", applied.profile.as_deref().unwrap_or("-")),
    };
    let plan = plan_id(view.profile, &view.answer.rows);
    first.push(match view.profile {
        Some(profile) => format!("{}, plan {plan}, {state}", profile.name),
        None => state,
    });
    let mut second = vec![cpus(facts)];
    let links = view.profile.map(Profile::links).unwrap_or_default();
    let up = uplinks(facts, &links);
    if up.is_empty() {
        second.push("no uplink".to_string());
    }
    second.extend(up.iter().take(4).map(|l| brief(l)));
    if up.len() > 4 {
        second.push(format!("and {} more uplinks", up.len() - 4));
    }
    if let Some(cilium) = &facts.agents.cilium {
        second.push(super::cilium::brief(cilium));
    }
    [first.join("  "), second.join("; ")]
}

/// The rows as a table of a page, each with all that it has to say.
pub(super) fn page(view: &View, manner: &Manner) -> Page {
    let folded = !manner.cilium && super::cilium::foreign(view);
    let here = |row: &&Row| !(folded && row.side == Side::Cilium && row.ciliums);
    let rows: Vec<&Row> = view.answer.rows.iter().filter(here).collect();
    let mut table = Table { columns: &["tweak", "status", "what", "impact"], ..Table::default() };
    for group in groups(view) {
        for row in rows.iter().filter(|row| group.statuses.contains(&row.status)) {
            let what = lines(row, manner.verbose, false).join("\n");
            let impact = if row.changes.is_empty() { "" } else { row.impact.name() };
            let status = status_name(row.status);
            table.rows.push(vec![row.name.clone(), status.into(), what, impact.into()]);
        }
    }
    Page {
        title: format!("nettune {} of {}", view.verb, view.facts.node.name),
        about: about(view).into_iter().chain(verdict(view, &rows, usize::MAX, manner)).collect(),
        tables: vec![table],
        notes: view.answer.notes.clone(),
    }
}

fn cpus(facts: &Facts) -> String {
    let count = cpulist::parse(&facts.cpus.online).map_or(0, |c| c.len());
    let nodes = facts.cpus.numa.len().max(1);
    format!("{count} CPUs, {nodes} NUMA")
}

fn brief(link: &Link) -> String {
    let driver = link.driver.as_deref().unwrap_or("-");
    format!("{} {driver} mtu {}, {} queues", link.name, link.mtu, queues(link))
}

/// "4 of 8" where the link has channels, else the queues it was made with.
fn queues(link: &Link) -> String {
    let Some(channels) = &link.channels else { return link.rx_queues.to_string() };
    let state = crate::model::State::is(channels.clone());
    let of = |now: &str, most: &str| Some((state.count(now)?, state.count(most)?));
    let both = of("combined", "combined-max").filter(|(_, most)| *most > 0);
    match both.or_else(|| of("rx", "rx-max")) {
        Some((now, most)) => format!("{now} of {most}"),
        None => link.rx_queues.to_string(),
    }
}

/// This node's values, for `explain`.
pub fn live(view: &View, style: &Style) -> String {
    let mut out = format!("{}\n", style.bold("On this node"));
    let width = name_width(&view.answer.rows);
    let mut grid = Grid::new(style, width);
    for row in &view.answer.rows {
        let mut lines = lines(row, true, false);
        if row.ciliums {
            lines.extend(super::cilium::advice(row, super::cilium::version(view)));
        }
        grid.push(row, &lines);
    }
    out.push_str(&grid.render());
    out
}

pub fn list(rows: &[Vec<String>], style: &Style) -> String {
    let mut builder = Builder::default();
    for row in rows {
        builder.push_record(row.iter().map(|cell| clean(cell)));
    }
    let mut table = builder.build();
    table.with(TableStyle::empty()).with(Padding::new(0, 2, 0, 0));
    table.with(Width::wrap(style.width).keep_words(true).priority(PriorityMax::right()));
    trimmed(&table.to_string())
}

pub fn profile(profile: &Profile, style: &Style) -> String {
    let mut out = format!("{}  {}\n", style.bold(&clean(&profile.name)), clean(profile.summary()));
    let mut builder = Builder::default();
    for (key, value, origin) in profile.values() {
        builder.push_record([
            format!("  {}", clean(&key)),
            clean(&value),
            format!("# {}", clean(origin)),
        ]);
    }
    let mut table = builder.build();
    table.with(TableStyle::empty()).with(Padding::new(0, 2, 0, 0));
    out.push_str(&trimmed(&table.to_string()));
    out
}

pub fn facts(facts: &Facts, style: &Style) -> String {
    let mut out = String::new();
    let mut line = |key: &str, value: String| {
        let indent = " ".repeat(14);
        let text = super::text::wrap(&clean(&value), style.width, &indent);
        out.push_str(&format!("{:<14}{}\n", style.bold(&format!("{key:<13}")), text.trim_start()));
    };
    let kernel = &facts.kernel;
    line(
        "node",
        format!("{} {}", facts.node.name, facts.node.machine_type.as_deref().unwrap_or("")),
    );
    line("kernel", format!("{} {}", kernel.release, kernel.arch));
    line("command line", kernel.cmdline.clone());
    line("configuration", kernel.config_file.clone().unwrap_or_else(|| "not found".into()));
    let current = match &kernel.preempt.current {
        Fact::Known(Some(mode)) => format!("now {mode} of {}", kernel.preempt.modes.join(", ")),
        Fact::Known(None) => "no switch at run time".into(),
        Fact::Unknown { unknown } => format!("now unknown: {unknown}"),
    };
    let build = kernel.preempt.build.as_deref().unwrap_or("unknown");
    line("preemption", format!("built {build}, {current}"));
    let jit = match &kernel.jit {
        Fact::Known(Some(n)) => n.to_string(),
        Fact::Known(None) => "absent".into(),
        Fact::Unknown { unknown } => format!("unknown: {unknown}"),
    };
    line("BPF", format!("BTF {}, JIT {jit}", if kernel.btf { "yes" } else { "no" }));
    let module = |(name, state): (&String, &Fact<crate::model::facts::Module>)| match state {
        Fact::Known(m) => format!("{name} {}", format!("{m:?}").to_lowercase()),
        Fact::Unknown { .. } => format!("{name} unknown"),
    };
    line("modules", kernel.modules.iter().map(module).collect::<Vec<_>>().join(", "));
    let policies = facts.cpus.cpufreq.first().map_or("no cpufreq".to_string(), |p| {
        format!("{} {} of {}", p.driver, p.governor, p.governors.join(", "))
    });
    line(
        "CPUs",
        format!(
            "{}: {}, {} cores; {policies}",
            cpus(facts),
            facts.cpus.online,
            facts.cpus.cores.len()
        ),
    );
    line("memory", format!("{} MiB", facts.memory_kib / 1024));
    line("agents", agents(facts));
    line("netfilter", netfilter(facts));
    out.push_str(&links(facts, style));
    out
}

fn agents(facts: &Facts) -> String {
    let a = &facts.agents;
    let mut words = Vec::new();
    for (name, agent) in [
        ("tuned", &a.tuned),
        ("irqbalance", &a.irqbalance),
        ("NetworkManager", &a.network_manager),
        ("systemd-networkd", &a.networkd),
        ("firewalld", &a.firewalld),
        ("kubelet", &a.kubelet),
    ] {
        match (agent.pid, agent.installed) {
            (Some(pid), _) => words.push(format!("{name} runs ({pid})")),
            (None, true) => words.push(format!("{name} installed")),
            _ => {}
        }
    }
    words.extend(a.cilium.as_ref().map(|c| format!("Cilium seen by {}", c.seen_by)));
    words.extend(
        (a.kube_proxy_rules.known() == Some(&true)).then(|| "kube-proxy rules".to_string()),
    );
    words.extend(a.cni.as_ref().map(|c| format!("CNI {c}")));
    words.extend(a.container.as_ref().map(|c| format!("in a container ({c})")));
    words.extend(a.vm.as_ref().map(|v| format!("in a virtual machine ({v})")));
    match &a.pods {
        Fact::Known(0) => {}
        Fact::Known(n) => words.push(format!("{n} pods")),
        Fact::Unknown { unknown } => words.push(format!("pods unknown: {unknown}")),
    }
    if words.is_empty() { "none seen".into() } else { words.join(", ") }
}

fn netfilter(facts: &Facts) -> String {
    let chains = match &facts.netfilter.chains {
        Fact::Known(chains) => {
            let rules: u32 = chains.iter().map(|c| c.rules).sum();
            format!("{rules} rules in {} chains", chains.len())
        }
        Fact::Unknown { unknown } => format!("nf_tables unknown: {unknown}"),
    };
    let legacy = match &facts.netfilter.legacy {
        Fact::Known(tables) if tables.is_empty() => String::new(),
        Fact::Known(tables) => format!("; legacy tables {}", tables.join(", ")),
        Fact::Unknown { .. } => "; legacy tables unknown".into(),
    };
    let tracked = facts.netfilter.conntrack.as_ref();
    let tracked = tracked.map(|c| format!("; {} of {} connections tracked", c.count, c.max));
    format!("{chains}{legacy}{}", tracked.unwrap_or_default())
}

fn links(facts: &Facts, style: &Style) -> String {
    let mut builder = Builder::default();
    builder
        .push_record(["link", "driver", "bus", "mtu", "queues", "vectors", "tso max", "qdisc", ""]);
    const MOST: usize = 40;
    for link in facts.links.iter().take(MOST) {
        let vectors = match &link.vectors {
            Fact::Known(v) => v.len().to_string(),
            Fact::Unknown { .. } => "unknown".into(),
        };
        let mut marks = Vec::new();
        marks.extend(link.default_route.then(|| "default route".to_string()));
        marks.extend(link.master.as_ref().map(|m| format!("in {m}")));
        marks.extend(link.xdp.as_ref().map(|x| format!("XDP {}", x.mode)));
        marks.extend((!link.up).then(|| "down".to_string()));
        let cells = [
            link.name.clone(),
            link.driver.clone().unwrap_or_default(),
            link.bus.clone().unwrap_or_default(),
            link.mtu.to_string(),
            queues(link),
            vectors,
            link.sizes.tso_max.map(|n| n.to_string()).unwrap_or_default(),
            link.qdisc.clone().unwrap_or_default(),
            marks.join(", "),
        ];
        builder.push_record(cells.map(|c| clean(&c)));
    }
    let mut table = builder.build();
    table.with(TableStyle::empty()).with(Padding::new(0, 2, 0, 0));
    let mut out = format!("\n{}", trimmed(&table.to_string()));
    if facts.links.len() > MOST {
        out.push_str(&format!(
            "and {} more links: nettune facts --json\n",
            facts.links.len() - MOST
        ));
    }
    let _ = style;
    out
}
