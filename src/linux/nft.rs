//! nf_tables: our own tables, the links of our flowtable, and a summary of everybody's rules.

mod expressions;
pub(crate) mod flow;
mod flow_links;
mod rule;
pub(crate) mod summary;
pub(crate) mod table;
mod transport;

pub use flow_links::{read_link, write_link};
pub use summary::list_rules_summary;
pub use table::{read_table, replace_table};
