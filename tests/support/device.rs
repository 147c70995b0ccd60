//! A file system that stops on demand: an ext4 on a loop device whose backing file lies on one that is frozen. Needs root.

use super::Data;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A mounted file system in a file; unmounted with it.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts the ext4 in `image`, made before when `mib` is given. `None`: not possible here.
    fn new(image: &Path, dir: &Path, mib: Option<u64>) -> Option<Mounted> {
        if let Some(mib) = mib {
            fs::File::create(image).unwrap().set_len(mib << 20).unwrap();
            if !run("mkfs.ext4", &["-q", "-F", text(image)]) {
                return None;
            }
        }
        fs::create_dir_all(dir).unwrap();
        run("mount", &["-o", "loop", text(image), text(dir)]).then(|| Mounted(dir.to_path_buf()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[text(&self.0)]);
    }
}

/// The store's file system in a file that lies on a file system that can be frozen.
pub(crate) struct Device {
    inner: Option<Mounted>,
    outer: Mounted,
    dir: PathBuf,
}

impl Device {
    /// `None`, with a line that says so, where this process may not mount.
    pub(crate) fn new(data: &Data) -> Option<Device> {
        let outer =
            Mounted::new(&data.path().join("outer.img"), &data.path().join("outer"), Some(1500));
        let dir = data.store();
        let inner = outer
            .as_ref()
            .and_then(|outer| Mounted::new(&outer.0.join("inner.img"), &dir, Some(600)));
        let Some((outer, inner)) = outer.zip(inner) else {
            eprintln!("no loop device can be mounted here: this test shows nothing");
            return None;
        };
        Some(Device { inner: Some(inner), outer, dir })
    }

    /// Whatever is written from now on waits.
    pub(crate) fn freeze(&self) {
        assert!(run("fsfreeze", &["--freeze", text(&self.outer.0)]));
    }

    /// It goes on.
    pub(crate) fn thaw(&self) {
        assert!(run("fsfreeze", &["--unfreeze", text(&self.outer.0)]));
    }

    /// A copy of what the frozen device holds.
    pub(crate) fn copy(&self, to: &Path) {
        let image = self.outer.0.join("inner.img");
        assert!(run("cp", &["--sparse=always", text(&image), text(to)]));
    }

    /// The device is what the copy says, as after a power cut.
    pub(crate) fn go_back_to(&mut self, copy: &Path) {
        self.inner = None;
        let image = self.outer.0.join("inner.img");
        assert!(run("cp", &["--sparse=always", text(copy), text(&image)]));
        let inner = Mounted::new(&image, &self.dir, None);
        self.inner = Some(inner.expect("the journal is replayed"));
    }
}
