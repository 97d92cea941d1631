//! What bake did to an image: written before the first file, so that even a bake that dies can be
//! undone.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::tree::{self, Bytes, Meta, Node, Time};
use crate::engine::{Exit, Refusal};
use crate::linux::root::Root;

pub const SCHEMA: u32 = 1;
pub const PATH: &str = "/etc/nettune/baked.json";
pub const FOLDER: &str = "/etc/nettune";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: u32,
    pub version: String,
    pub profile: String,
    /// SOURCE_DATE_EPOCH, where it was set.
    pub time: Option<i64>,
    pub arch: String,
    pub kernels: Vec<String>,
    /// In the order of writing.
    pub files: Vec<Entry>,
    /// Folders that were there, and when each was changed last.
    pub folders: Vec<(String, Time)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub path: String,
    /// Octal; of a link there is none.
    pub mode: Option<String>,
    /// Of kind, mode and content, as baked.
    pub sha256: String,
    pub before: Node,
}

impl Entry {
    pub fn replaces(&self) -> bool {
        self.before != Node::Absent
    }
}

impl Manifest {
    pub fn load(root: &Root) -> Result<Option<Self>> {
        let node = tree::read(root, PATH)?;
        if node == Node::Absent {
            return Ok(None);
        }
        let wrong =
            |why: String| Refusal::with(Exit::Config, format!("{}: {why}", root.full(PATH)));
        let text = node.text().ok_or_else(|| wrong("it is no text".into()))?;
        let manifest: Manifest =
            serde_json::from_str(text).map_err(|e| wrong(format!("not a manifest: {e}")))?;
        if manifest.schema > SCHEMA {
            return Err(wrong(format!("of a newer nettune (schema {})", manifest.schema)));
        }
        // It names paths that are to be written.
        let inside = |path: &str| {
            path.strip_prefix('/').is_some_and(|p| {
                p.split('/').all(|part| !matches!(part, "" | "." | "..")) && !p.contains('\0')
            })
        };
        match manifest.files.iter().find(|f| !inside(&f.path)) {
            Some(file) => Err(wrong(format!("{:?} is no path of an image", file.path))),
            None => Ok(Some(manifest)),
        }
    }

    pub fn node(&self, owner: Option<(u32, u32)>, time: Time) -> Result<Node> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        let meta = Meta { mode: 0o644, owner, time, attributes: Default::default() };
        Ok(Node::File { meta, content: Bytes(text.into_bytes()) })
    }
}
