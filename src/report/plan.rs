//! What `plan` and `apply --dry-run` print: changes and only changes, by what making them does to traffic, and what goes back.

use std::collections::BTreeSet;

use super::grid::Grid;
use super::page::{Page, Table};
use super::reasons::{accept, text};
use super::rows::lines;
use super::table::{about, force, head, name_width, title};
use super::text::{Style, clean, wrap};
use super::verdict::verdict;
use super::view::{Manner, View};
use super::words;
use crate::engine::Exit;
use crate::engine::reason::Reason;
use crate::engine::row::{Row, Status};
use crate::model::{Change, Impact, Resource};

/// More of a kind than that are one line.
const ALIKE: usize = 8;
/// Of twice as many lines of one tweak these are shown.
const MOST: usize = 20;
const NAME: usize = 20;

/// Rows with those of their changes that stand in it.
struct Section<'a> {
    title: String,
    held: bool,
    rows: Vec<(&'a Row, Vec<&'a Change>)>,
}

pub fn plan(view: &View, style: &Style, manner: &Manner) -> String {
    let rows: Vec<&Row> = view.answer.rows.iter().collect();
    let mut out = head(view, style);
    out.extend(verdict(view, &rows, style.width, manner));
    let sections = sections(&rows);
    let mut reasoned = BTreeSet::new();
    let none = sections.iter().all(|section| section.rows.is_empty());
    for section in sections.iter().filter(|section| !section.rows.is_empty()) {
        out.push_str(&title(&section.title, &section.hint(), style));
        for (row, changes) in &section.rows {
            let mut lines = said(changes, manner.verbose);
            let why = |r: &&Reason| !matches!(r, Reason::Held(_)) && row.status != Status::Off;
            if reasoned.insert(&row.name) {
                lines.extend(row.reasons.iter().filter(why).map(|r| clean(&text(r))));
            }
            for (at, line) in lines.iter().enumerate() {
                let name = if at == 0 { row.name.as_str() } else { "" };
                let line = wrap(line, style.width.saturating_sub(NAME + 4).max(20), "");
                let line = line.replace('\n', &format!("\n{:1$}", "", NAME + 4));
                out.push_str(&format!("  {name:<NAME$}{line}\n"));
            }
        }
    }
    // Where --strict ends for these, they are named.
    let blocked = |r: &&&Row| view.answer.exit == Exit::Blocked && r.status == Status::Blocked;
    let blocked: Vec<&Row> = rows.iter().filter(blocked).copied().collect();
    if !blocked.is_empty() {
        out.push_str(&title("BLOCKED, YOURS TO MEND", "", style));
        let mut grid = Grid::new(style, name_width(blocked.iter().copied()));
        blocked.iter().for_each(|row| grid.push(row, &lines(row, manner.verbose, false)));
        out.push_str(&grid.render());
    }
    let moved: Vec<&Row> = rows.into_iter().filter(|r| r.status == Status::Drifted).collect();
    if !moved.is_empty() {
        out.push_str(&title("SOMEBODY ELSE CHANGED IT", &force(view), style));
        let mut grid = Grid::new(style, name_width(moved.iter().copied()));
        moved.iter().for_each(|row| grid.push(row, &lines(row, manner.verbose, false)));
        out.push_str(&grid.render());
    } else if none {
        out.push_str("nothing would change\n");
    }
    out
}

impl Section<'_> {
    /// What its rows wait for, as an option.
    fn hint(&self) -> String {
        if !self.held {
            return String::new();
        }
        let waits = |r: &Reason| match r {
            Reason::Held(impacts) => impacts.clone(),
            _ => Vec::new(),
        };
        let all: BTreeSet<Impact> =
            self.rows.iter().flat_map(|(row, _)| row.reasons.iter().flat_map(waits)).collect();
        format!("held: {}", accept(&Vec::from_iter(all)))
    }
}

pub fn page(view: &View, manner: &Manner) -> Page {
    let rows: Vec<&Row> = view.answer.rows.iter().collect();
    let table = |section: Section| {
        let line = |(row, changes): &(&Row, Vec<&Change>)| {
            vec![row.name.clone(), said(changes, manner.verbose).join("\n")]
        };
        let hint = section.hint();
        let title = if hint.is_empty() {
            section.title.clone()
        } else {
            format!("{} ({hint})", section.title)
        };
        Table {
            title,
            columns: &["tweak", "change"],
            rows: section.rows.iter().map(line).collect(),
        }
    };
    let filled = sections(&rows).into_iter().filter(|section| !section.rows.is_empty());
    Page {
        title: format!("nettune plan of {}", view.facts.node.name),
        about: about(view).into_iter().chain(verdict(view, &rows, usize::MAX, manner)).collect(),
        tables: filled.map(table).collect(),
        notes: view.answer.notes.clone(),
    }
}

fn sections<'a>(rows: &[&'a Row]) -> Vec<Section<'a>> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    let mut of = |title: String, held: bool, wanted: &dyn Fn(&Row, &Change) -> bool| {
        let mut taken = Vec::new();
        for row in rows {
            let mine = row.changes.iter().map(|(c, _)| c);
            let mine = mine.filter(|c| !c.claim_only() && wanted(row, c));
            // What two tweaks want is made once.
            let mine: Vec<&Change> = mine.filter(|c| seen.insert(&c.resource)).collect();
            taken.extend((!mine.is_empty()).then_some((*row, mine)));
        }
        all.push(Section { title, held, rows: taken });
    };
    let title =
        |impact: Impact| format!("{}: {}", impact.name().to_uppercase(), words::impact(impact));
    for impact in Impact::ALL {
        let ready =
            |row: &Row, c: &Change| row.status != Status::Held && !c.back() && c.impact == impact;
        of(title(impact), false, &ready);
    }
    // A tweak is held whole, with what of it would disturb nobody.
    for impact in Impact::ALL {
        let held =
            |row: &Row, c: &Change| row.status == Status::Held && !c.back() && row.impact == impact;
        of(title(impact), true, &held);
    }
    of("PUT BACK: not wanted any more".into(), false, &|_, c| c.back());
    all
}

/// A change a line; many alike as their number, but for who wants all of it.
fn said(changes: &[&Change], verbose: bool) -> Vec<String> {
    if verbose {
        let canonical = |c: &&Change| {
            let (before, after) = c.resource.shown_both(&c.before, &c.after);
            clean(&format!("{}: {before} -> {after} [{}]", c.resource, c.impact))
        };
        return changes.iter().map(canonical).collect();
    }
    let mut lines = Vec::new();
    let mut rest = changes.to_vec();
    while let Some(first) = rest.first().copied() {
        let (alike, others): (Vec<&Change>, Vec<&Change>) =
            rest.iter().partition(|c| same(&c.resource, &first.resource));
        match alike.len() > ALIKE {
            true => lines.extend(words::changes(&alike)),
            false => lines.extend(alike.into_iter().map(words::change)),
        }
        rest = others;
    }
    if lines.len() > 2 * MOST {
        let more = lines.split_off(MOST).len();
        lines.push(format!("and {more} more (-v has all)"));
    }
    lines
}

/// What words::changes says together.
fn same(one: &Resource, other: &Resource) -> bool {
    let xps = |r: &Resource| matches!(r, Resource::Sysfs { path } if path.ends_with("/xps_cpus"));
    match (one, other) {
        (Resource::Irq { .. }, Resource::Irq { .. }) => true,
        (Resource::Mtu { .. }, Resource::Mtu { .. }) => true,
        (one, other) => one == other || xps(one) && xps(other),
    }
}
