use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::syntax::Checked;
use crate::VERSION;
use crate::model::hex;

/// A profile with its includes and overrides merged.
#[derive(Debug, Default)]
pub struct Profile {
    pub name: String,
    pub table: toml::Table,
    /// Dotted path of each value -> where it comes from.
    pub origins: BTreeMap<String, String>,
    /// Of keys that are still as some file has them: what their lever says of each alone.
    pub doubts: BTreeMap<String, String>,
}

impl Profile {
    /// What tells it from any other, to a plan's id.
    pub fn told_apart(&self) -> String {
        format!("{VERSION}{}{}", self.name, self.table)
    }

    /// As it was resolved.
    pub fn text(&self) -> String {
        self.table.to_string()
    }

    /// Of its values as they were resolved, in eight hexadecimal digits.
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(self.table.to_string())[..4])
    }

    /// Lays a file on top.
    pub fn lay(&mut self, file: Checked, origin: &str) {
        for (tweak, keys) in file.table.iter().filter_map(|(t, v)| Some((t, v.as_table()?))) {
            let whole = keys.iter().filter(|(_, value)| !value.is_table());
            whole.for_each(|(key, _)| drop(self.doubts.remove(&format!("{tweak}.{key}"))));
        }
        self.doubts.extend(file.doubts);
        self.merge(file.table, origin);
    }

    /// Lays `over` on top: tables are merged down to the value of a tweak's key (or of a key in a
    /// map such as `sysctl`), which is replaced whole.
    fn merge(&mut self, over: toml::Table, origin: &str) {
        fn lay(
            under: &mut toml::Table,
            over: toml::Table,
            path: &str,
            depth: usize,
            note: &mut dyn FnMut(String),
        ) {
            for (key, value) in over {
                let here = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match (value, under.get_mut(&key)) {
                    (toml::Value::Table(new), Some(toml::Value::Table(old))) if depth < 2 => {
                        lay(old, new, &here, depth + 1, note);
                    }
                    (toml::Value::Table(new), _) if depth < 2 => {
                        note(here.clone());
                        let mut table = toml::Table::new();
                        lay(&mut table, new, &here, depth + 1, note);
                        under.insert(key, toml::Value::Table(table));
                    }
                    (value, _) => {
                        under.insert(key, value);
                        note(here);
                    }
                }
            }
        }
        let origins = &mut self.origins;
        let mut note = |path: String| {
            origins.insert(path, origin.to_string());
        };
        lay(&mut self.table, over, "", 0, &mut note);
    }
}
