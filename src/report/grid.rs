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
    /// In place of "off", where a run has put it back.
    off: &'static str,
}

impl<'a> Grid<'a> {
    pub fn new(style: &'a Style, name: usize) -> Self {
        Grid {
            builder: Builder::default(),
            style,
            name,
            lines: 0,
            statuses: Vec::new(),
            off: "off",
        }
    }

    pub fn off_is(mut self, off: &'static str) -> Self {
        self.off = off;
        self
    }

    fn word(&self, status: Status) -> &'static str {
        if status == Status::Off { self.off } else { status_name(status) }
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
        let status = format!("{:<1$}", self.word(row.status), STATUS);
        self.builder.push_record([name, status, said]);
    }

    pub fn render(self) -> String {
        let (style, name) = (self.style, self.name);
        let words = self.statuses.iter().map(|(at, status)| (*at, *status, self.word(*status)));
        let words: Vec<(usize, Status, &'static str)> = words.collect();
        let mut table = self.builder.build();
        table.with(TableStyle::empty()).with(Padding::new(0, 1, 0, 0));
        let plain = trimmed(&table.to_string());
        if !style.colour {
            return plain;
        }
        let mut lines: Vec<String> = plain.lines().map(str::to_string).collect();
        for (at, status, word) in words {
            let Some(line) = lines.get_mut(at) else { continue };
            if line.get(name + 1..).is_some_and(|rest| rest.starts_with(word)) {
                line.replace_range(name + 1..name + 1 + word.len(), &style.status(status, word));
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
