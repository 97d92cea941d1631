//! What is at a path of the node: "link TARGET", "folder mode=0755 owner=0:0", or "mode=0644 owner=0:0" and the
//! content from the next line on.

use std::fmt;
use std::str::FromStr;

use crate::model::State;
use crate::model::state::field;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum File {
    Link(String),
    Folder(Meta),
    Text { meta: Meta, content: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Permissions and the bits above them.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Meta {
    /// As nettune makes its own files.
    pub const FRESH: Meta = Meta { mode: 0o644, uid: 0, gid: 0 };
}

impl File {
    pub fn fresh(content: impl Into<String>) -> Self {
        File::Text { meta: Meta::FRESH, content: content.into() }
    }

    /// Content of a text.
    pub fn content(&self) -> Option<&str> {
        match self {
            File::Text { content, .. } => Some(content),
            File::Link(_) | File::Folder(_) => None,
        }
    }
}

impl From<File> for State {
    fn from(file: File) -> Self {
        State::Is(file.to_string())
    }
}

impl fmt::Display for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mode={:04o} owner={}:{}", self.mode, self.uid, self.gid)
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            File::Link(target) => write!(f, "link {target}"),
            File::Folder(meta) => write!(f, "folder {meta}"),
            File::Text { meta, content } => write!(f, "{meta}\n{content}"),
        }
    }
}

impl FromStr for Meta {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} does not say mode and owner");
        let word = |key| field(text, key).ok_or_else(wrong);
        let mode = u32::from_str_radix(word("mode")?, 8).map_err(|_| wrong())?;
        let (uid, gid) = word("owner")?.split_once(':').ok_or_else(wrong)?;
        let id = |text: &str| text.parse().map_err(|_| wrong());
        match mode {
            0..=0o7777 => Ok(Meta { mode, uid: id(uid)?, gid: id(gid)? }),
            _ => Err(wrong()),
        }
    }
}

impl FromStr for File {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A target may hold any byte but NUL, also a line end.
        if let Some(target) = text.strip_prefix("link ") {
            return Ok(File::Link(target.to_string()));
        }
        if let Some(meta) = text.strip_prefix("folder ") {
            return Ok(File::Folder(meta.parse()?));
        }
        let (meta, content) =
            text.split_once('\n').ok_or_else(|| format!("{text:?} has no line of content"))?;
        Ok(File::Text { meta: meta.parse()?, content: content.to_string() })
    }
}
