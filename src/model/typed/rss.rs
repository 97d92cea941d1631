//! How received packets are spread: "hash=1 key=6d5a.. table=default".

use std::fmt;
use std::str::FromStr;

use crate::model::facts::Rss;
use crate::model::state::field;

impl fmt::Display for Rss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hash={} key={} table={}", self.hash, self.key, self.table)
    }
}

impl FromStr for Rss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} does not say hash, key and table of RSS");
        let word = |key| field(text, key).ok_or_else(wrong);
        let hash = word("hash")?.parse().map_err(|_| wrong())?;
        Ok(Rss { table: word("table")?.to_string(), key: word("key")?.to_string(), hash })
    }
}
