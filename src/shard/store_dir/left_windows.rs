//! Windows of stores that are gone: each is memory that nobody would give back before the next boot.
//!
//! One is removed when its process is dead (it held a lock), its header says where its store was, and that directory is gone while the
//! file system that held it is there: of a disk that is not mounted a window may have the only copy of acknowledged messages. So it
//! stays, too, when one of the path's directories seems to have another name now, and when it holds what was never written: a
//! store that was moved far away would miss it. The operator is told.

use buf::window::LeftWindow;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use store::layout::identity::{self, Identity};

/// So many directories are looked into for one that was renamed; when there are more, the window stays.
const SIBLINGS_MAX: usize = 4096;

/// Removes them, but never one of the store `own`.
pub(super) fn remove(window_dir: &Path, own: u128) {
    let Ok(entries) = fs::read_dir(window_dir) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with("ringmq-") {
            continue;
        }
        let path = entry.path();
        // Of another user, mostly.
        let Ok(Some(left)) = LeftWindow::look(&path) else { continue };
        if left.store_id == own || !is_gone(&left).unwrap_or(false) {
            continue;
        }
        let only_here = left.frontiers.appended.saturating_sub(left.frontiers.written);
        if only_here > 0 {
            tracing::warn!(
                "{}: the log window of {}, which is gone, holds {only_here} bytes that are nowhere else; remove it when that store \
                 is not needed any more",
                path.display(),
                left.dir.display()
            );
            continue;
        }
        match fs::remove_file(&path) {
            Ok(()) => tracing::info!(
                "{}: removed; it is the log window of {}, which is gone",
                path.display(),
                left.dir.display()
            ),
            Err(error) => tracing::warn!("{}: removing it: {error}", path.display()),
        }
    }
}

/// Whether the window's store is nowhere. Errors: that cannot be said.
fn is_gone(left: &LeftWindow) -> io::Result<bool> {
    for above in left.dir.ancestors() {
        let meta = match fs::symlink_metadata(above) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if above == left.dir || !meta.is_dir() || meta.dev() != left.device {
            return Ok(false);
        }
        return Ok(!is_renamed(left, above)?);
    }
    Ok(false)
}

/// Whether the store lies below another directory of `above`, the last one of its path that is there.
fn is_renamed(left: &LeftWindow, above: &Path) -> io::Result<bool> {
    let missing = left.dir.strip_prefix(above).map_err(io::Error::other)?;
    let below: std::path::PathBuf = missing.components().skip(1).collect();
    for (count, entry) in fs::read_dir(above)?.enumerate() {
        let file = entry?.path().join(&below).join(identity::FILE_NAME);
        let id = fs::read_to_string(file).ok().and_then(|text| Identity::decode(&text).ok());
        if count >= SIBLINGS_MAX || id.is_some_and(|found| found.store_id == left.store_id) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use buf::window::{Window, WindowIdentity};
    use std::path::PathBuf;

    struct Scene {
        dir: tempfile::TempDir,
        device: u64,
    }

    impl Scene {
        /// A window of store 7 at `a/b/store`.
        fn new() -> (Scene, Window) {
            let dir = tempfile::tempdir().unwrap();
            let device = fs::metadata(dir.path()).unwrap().dev();
            let scene = Scene { dir, device };
            fs::create_dir(scene.path("windows")).unwrap();
            scene.make_store("a/b/store", 7);
            let identity = WindowIdentity { store_id: 7, boot_id: 1, stream: 0 };
            let window = Window::create(&scene.window(), 8192, identity, 0).unwrap();
            window.note_place(&scene.path("a/b/store"), scene.device);
            (scene, window)
        }

        fn path(&self, below: &str) -> PathBuf {
            self.dir.path().join(below)
        }

        fn window(&self) -> PathBuf {
            self.path("windows/ringmq-7-0")
        }

        fn make_store(&self, below: &str, store_id: u128) {
            fs::create_dir_all(self.path(below)).unwrap();
            let identity = Identity { store_id, streams: 1, segment_bytes: 65536 };
            fs::write(self.path(below).join(identity::FILE_NAME), identity.encode()).unwrap();
        }

        fn stays(&self, own: u128) -> bool {
            remove(&self.path("windows"), own);
            self.window().exists()
        }
    }

    #[test]
    fn a_window_goes_when_process_and_store_are_gone() {
        let (scene, window) = Scene::new();
        assert!(scene.stays(1), "store and process are there");
        fs::remove_dir_all(scene.path("a/b")).unwrap();
        assert!(scene.stays(1), "the process is");
        drop(window);
        assert!(scene.stays(7), "of the own store");
        scene.make_store("a/other/store", 8);
        assert!(!scene.stays(1));
    }

    #[test]
    fn a_window_whose_store_may_be_somewhere_stays() {
        let (scene, window) = Scene::new();
        drop(window);
        assert!(scene.stays(1), "the store is there");
        fs::rename(scene.path("a/b"), scene.path("a/c")).unwrap();
        assert!(scene.stays(1), "it has another name");
        fs::remove_dir_all(scene.path("a/c")).unwrap();
        fs::write(scene.path("a/b"), b"").unwrap();
        assert!(scene.stays(1), "something else has the name");
        fs::remove_file(scene.path("a/b")).unwrap();
        let identity = WindowIdentity { store_id: 7, boot_id: 1, stream: 0 };
        let window = Window::create(&scene.window(), 8192, identity, 0).unwrap();
        drop(window);
        assert!(scene.stays(1), "nobody knows where its store is");
        let window = Window::create(&scene.window(), 8192, identity, 0).unwrap();
        window.note_place(&scene.path("a/b/store"), scene.device + 1);
        drop(window);
        assert!(scene.stays(1), "its disk is not mounted");
        let window = Window::create(&scene.window(), 8192, identity, 0).unwrap();
        window.note_place(&scene.path("a/b/store"), scene.device);
        window.set_appended(100);
        drop(window);
        assert!(scene.stays(1), "it holds what was never written");
    }
}
