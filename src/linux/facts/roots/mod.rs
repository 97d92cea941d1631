//! Facts of nodes that nobody here has, from trees of files with their layout. The layouts are built
//! from the kernel's documents (ABI/testing, admin-guide) and the drivers' source, not captured on
//! such machines: a green run proves the reading, not the machine. `captured` has what was.

mod agents;
mod captured;
mod cpus;
mod links;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;

pub struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    pub fn new() -> Self {
        Tree { dir: tempfile::tempdir().unwrap() }
    }

    pub fn root(&self) -> Root {
        Root::open(self.dir.path()).unwrap()
    }

    fn place(&self, path: &str) -> PathBuf {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub fn file(&self, path: &str, text: &str) {
        fs::write(self.place(path), text).unwrap();
    }

    pub fn folder(&self, path: &str) {
        fs::create_dir_all(self.place(path)).unwrap();
    }

    pub fn link(&self, path: &str, target: &str) {
        symlink(target, self.place(path)).unwrap();
    }
}
