//! An image as it was baked.

use schemars::JsonSchema;
use serde::Serialize;

use crate::image::kernels::Finding;
use crate::image::manifest::{Entry, Manifest};

/// `bake`, `bake --check`, `bake --undo`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct BakeJson {
    pub root: String,
    pub profile: Option<String>,
    pub arch: Option<String>,
    pub kernels: Vec<String>,
    pub files: Vec<BakedFileJson>,
    /// What the profile wants and a kernel does not have, or cannot be seen to have.
    pub findings: Vec<Finding>,
    /// What is not as baked.
    pub differ: Vec<String>,
    /// How many files were taken out; null unless that was asked for.
    pub undone: Option<usize>,
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BakedFileJson {
    pub path: String,
    /// Octal; null for a link.
    pub mode: Option<String>,
    pub sha256: String,
    /// Whether there was something before.
    pub replaced: bool,
}

impl BakeJson {
    pub fn of(root: &str, manifest: &Manifest) -> Self {
        let file = |f: &Entry| BakedFileJson {
            path: f.path.clone(),
            mode: f.mode.clone(),
            sha256: f.sha256.clone(),
            replaced: f.replaces(),
        };
        BakeJson {
            root: root.to_string(),
            profile: Some(manifest.profile.clone()),
            arch: Some(manifest.arch.clone()),
            kernels: manifest.kernels.clone(),
            files: manifest.files.iter().map(file).collect(),
            ..BakeJson::default()
        }
    }
}
