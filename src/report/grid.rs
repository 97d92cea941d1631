//! Rows as aligned columns: name, status, and what is said, wrapped to the width of the terminal.

use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::style::Style as TableStyle;
use tabled::settings::{Padding, Width};

use super::text::Style;
use crate::engine::row::Row;

const STATUS: usize = 11;

pub fn push_lines(builder: &mut Builder, row: &Row, lines: &[String], style: &Style, name: usize) {
    // Wrapped here and not by the table, which would run the lines into one another.
    let rest = style.width.saturating_sub(name + STATUS + 2).max(20);
    let fitted: Vec<String> = lines
        .iter()
        .map(|line| {
            // What to do hangs by three columns, which its lines are shorter by.
            let hang = if line.starts_with("->") { "   " } else { "" };
            super::text::wrap(line, rest - hang.len(), "").replace('\n', &format!("\n{hang}"))
        })
        .collect();
    builder.push_record([format!("  {}", row.name), style.status(row.status), fitted.join("\n")]);
}

pub fn render(builder: Builder, name: usize) -> String {
    let mut table = builder.build();
    table
        .with(TableStyle::empty())
        .with(Padding::new(0, 1, 0, 0))
        .modify(Columns::one(0), Width::increase(name))
        .modify(Columns::one(1), Width::increase(STATUS));
    trimmed(&table.to_string())
}

/// No line ends in white space: a table is pasted into mails and tickets.
pub fn trimmed(text: &str) -> String {
    text.lines().map(|l| l.trim_end().to_string() + "\n").collect()
}
