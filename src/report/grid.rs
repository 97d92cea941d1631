//! Rows as aligned columns: name, status, and what is said, wrapped to the width of the terminal.

use tabled::builder::Builder;
use tabled::settings::Padding;
use tabled::settings::style::Style as TableStyle;

use super::text::{Style, status_name};
use crate::engine::row::{Row, Status};

const STATUS: usize = 11;

pub struct Grid<'a> {
    builder: Builder,
    style: &'a Style,
    /// Width of the first column.
    name: usize,
    lines: usize,
    /// In which line each status stands: it is painted once the columns stand, as a column's width would count
    /// its paint.
    statuses: Vec<(usize, Status)>,
}

impl<'a> Grid<'a> {
    pub fn new(style: &'a Style, name: usize) -> Self {
        Grid { builder: Builder::default(), style, name, lines: 0, statuses: Vec::new() }
    }

    pub fn push(&mut self, row: &Row, lines: &[String]) {
        // Wrapped here and not by the table, which would run the lines into one another.
        let rest = self.style.width.saturating_sub(self.name + STATUS + 2).max(20);
        let fitted = |line: &String| {
            // What to do hangs by three columns, which its lines are shorter by.
            let hang = if line.starts_with("->") { "   " } else { "" };
            super::text::wrap(line, rest - hang.len(), "").replace('\n', &format!("\n{hang}"))
        };
        let said = lines.iter().map(fitted).collect::<Vec<_>>().join("\n");
        self.statuses.push((self.lines, row.status));
        self.lines += said.split('\n').count();
        let name = format!("  {:<1$}", row.name, self.name.saturating_sub(2));
        let status = format!("{:<1$}", status_name(row.status), STATUS);
        self.builder.push_record([name, status, said]);
    }

    pub fn render(self) -> String {
        let mut table = self.builder.build();
        table.with(TableStyle::empty()).with(Padding::new(0, 1, 0, 0));
        let plain = trimmed(&table.to_string());
        if !self.style.colour {
            return plain;
        }
        let mut lines: Vec<String> = plain.lines().map(str::to_string).collect();
        for (at, status) in self.statuses {
            let word = status_name(status);
            let Some(line) = lines.get_mut(at) else { continue };
            if line.get(self.name + 1..).is_some_and(|rest| rest.starts_with(word)) {
                let painted = self.style.status(status);
                line.replace_range(self.name + 1..self.name + 1 + word.len(), &painted);
            }
        }
        lines.join("\n") + "\n"
    }
}

/// No line ends in white space: a table is pasted into mails and tickets.
pub fn trimmed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
