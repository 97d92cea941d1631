//! A result to be handed on: a table in Markdown for a ticket, or one page of HTML that needs nothing from elsewhere.

use super::text::{clean, status_name};
use crate::engine::row::Status;

/// What is printed, whatever the form.
#[derive(Default)]
pub struct Page {
    pub title: String,
    pub about: Vec<String>,
    pub tables: Vec<Table>,
    pub notes: Vec<String>,
}

#[derive(Default)]
pub struct Table {
    pub title: String,
    pub columns: &'static [&'static str],
    /// One text a column; a line break in it stays one.
    pub rows: Vec<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Markdown,
    Html,
}

impl Page {
    pub fn render(&self, form: Form) -> String {
        match form {
            Form::Markdown => self.markdown(),
            Form::Html => self.html(),
        }
    }

    fn markdown(&self) -> String {
        let mut out = format!("### {}\n\n", inline(&self.title));
        for line in self.about.iter().chain(&self.notes) {
            out.push_str(&format!("{}\n\n", inline(line)));
        }
        for table in &self.tables {
            if !table.title.is_empty() {
                out.push_str(&format!("**{}**\n\n", inline(&table.title)));
            }
            let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
            out.push_str(&row(table.columns.iter().map(|c| c.to_string()).collect()));
            out.push_str(&row(table.columns.iter().map(|_| "---".to_string()).collect()));
            for cells in &table.rows {
                out.push_str(&row(cells.iter().map(|c| inline(c)).collect()));
            }
            out.push('\n');
        }
        out.truncate(out.trim_end().len());
        out + "\n"
    }

    fn html(&self) -> String {
        let title = escaped(&self.title);
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        );
        for line in self.about.iter().chain(&self.notes) {
            out.push_str(&format!("<p>{}</p>\n", escaped(line)));
        }
        for table in &self.tables {
            out.push_str("<div class=\"wide\"><table>\n");
            if !table.title.is_empty() {
                out.push_str(&format!("<caption>{}</caption>\n", escaped(&table.title)));
            }
            let head = table.columns.iter().map(|c| format!("<th scope=\"col\">{c}</th>"));
            out.push_str(&format!(
                "<thead><tr>{}</tr></thead>\n<tbody>\n",
                head.collect::<String>()
            ));
            for cells in &table.rows {
                let cell = |cell: &String| format!("<td{}>{}</td>", class(cell), escaped(cell));
                let cells: String = cells.iter().map(cell).collect();
                out.push_str(&format!("<tr>{cells}</tr>\n"));
            }
            out.push_str("</tbody>\n</table></div>\n");
        }
        out + "</body>\n</html>\n"
    }
}

/// A cell that is a status has its colour.
fn class(cell: &str) -> String {
    const ALL: [Status; 9] = [
        Status::Applied,
        Status::Ok,
        Status::Ready,
        Status::Held,
        Status::Blocked,
        Status::Unknown,
        Status::Drifted,
        Status::Failed,
        Status::Cilium,
    ];
    let is = ALL.iter().find(|status| status_name(**status) == cell);
    is.map_or_else(String::new, |status| format!(" class=\"{}\"", status_name(*status)))
}

const STYLE: &str = ":root { color-scheme: light dark }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
h1 { font-size: 1.3rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: 1rem 0; width: 100% }
caption { font-weight: 600; padding: .3rem 0; text-align: left }
th, td { border-bottom: 1px solid #8884; padding: .3rem .6rem .3rem 0; text-align: left; vertical-align: top }
td { overflow-wrap: anywhere }
td:first-child { font-family: ui-monospace, monospace }
td:first-child, td:nth-child(2):not(:last-child), td:nth-child(4) { overflow-wrap: normal; white-space: nowrap }
.applied, .ok { color: light-dark(#1a7f37, #3fb950) }
.ready, .cilium { color: light-dark(#0a66c2, #58a6ff) }
.held, .blocked { color: light-dark(#8a5a00, #d29922) }
.drifted, .failed { color: light-dark(#c0272d, #ff7b72) }
.unknown { color: light-dark(#8250df, #bc8cff) }
";

/// Names come from the node: nothing of them is a tag, an attribute or a script.
fn escaped(text: &str) -> String {
    let lines = text.lines().map(clean).map(|line| {
        let mut out = String::with_capacity(line.len());
        for c in line.chars() {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                '\'' => out.push_str("&#39;"),
                c => out.push(c),
            }
        }
        out
    });
    lines.collect::<Vec<_>>().join("<br>")
}

/// A cell of a table in Markdown: what would end it, or mean something there, is escaped.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, line) in text.lines().map(clean).enumerate() {
        if at > 0 {
            out.push_str("<br>");
        }
        for c in line.chars() {
            match c {
                '<' => out.push_str("&lt;"),
                '&' => out.push_str("&amp;"),
                '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '~' => out.extend(['\\', c]),
                c => out.push(c),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(cell: &str) -> Page {
        let rows = vec![vec![cell.to_string(), "held".to_string()]];
        let tables = vec![Table { title: "T".into(), columns: &["a", "b"], rows }];
        Page { title: cell.into(), tables, ..Page::default() }
    }

    #[test]
    fn nothing_of_a_name_is_taken_for_a_page() {
        for name in
            ["<script>alert(1)</script>", "a\" onload=x", "a|b`c`", "\u{1b}[31mred", "a&lt;b"]
        {
            let html = page(name).render(Form::Html);
            assert!(!html.contains("<script") && !html.contains("\" onload"), "{html}");
            assert!(!html.contains('\u{1b}'));
            let markdown = page(name).render(Form::Markdown);
            let row = markdown.lines().last().unwrap().replace("\\|", "");
            assert_eq!(row.matches('|').count(), 3, "{markdown}");
            assert!(!markdown.contains("<script"));
        }
        assert!(page("x").render(Form::Html).contains("<td class=\"held\">held</td>"));
    }
}
