//! The window across a process death: what is trusted, what is refused. A dropped `Window` stands for the death.

use super::*;

fn identity() -> WindowIdentity {
    WindowIdentity { store_id: 7 << 70 | 3, boot_id: 11, stream: 2 }
}

#[test]
fn a_range_across_the_end_of_the_ring_is_contiguous() {
    let mut window = Window::anonymous(8192, identity(), 0).unwrap();
    window.slice_mut(8190, 4).copy_from_slice(b"wrap");
    assert_eq!(window.slice(8190, 4), b"wrap");
    assert_eq!(window.slice(8192, 2), b"ap");
    assert_eq!(window.slice(0, 2), b"ap");
}

#[test]
fn a_window_survives_its_owner_and_says_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w");
    {
        let mut window = Window::create(&path, 8192, identity(), 100).unwrap();
        window.slice_mut(100, 5).copy_from_slice(b"hello");
        window.set_appended(105);
    }
    let (window, frontiers) = Window::open(&path, identity()).unwrap().unwrap();
    assert_eq!(frontiers, WindowFrontiers { appended: 105, written: 100 });
    assert_eq!(window.slice(100, 5), b"hello");
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_window_of_another_store_boot_or_stream_is_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w");
    drop(Window::create(&path, 8192, identity(), 0).unwrap());
    for other in [
        WindowIdentity { store_id: 1, ..identity() },
        WindowIdentity { boot_id: 1, ..identity() },
        WindowIdentity { stream: 1, ..identity() },
    ] {
        assert!(Window::open(&path, other).unwrap().is_none());
    }
    std::fs::write(&path, vec![9u8; 12288]).unwrap();
    assert!(Window::open(&path, identity()).unwrap().is_none());
    std::fs::write(&path, b"short").unwrap();
    assert!(Window::open(&path, identity()).unwrap().is_none());
}

#[test]
fn a_window_says_where_its_store_is_once_its_process_is_dead() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w");
    let look = || LeftWindow::look(&path).unwrap();
    let window = Window::create(&path, 8192, identity(), 100).unwrap();
    assert!(look().is_none(), "an older release does not say it");
    window.note_place(Path::new("/data/a store"), 77);
    window.set_appended(105);
    assert!(look().is_none(), "its process lives");
    drop(window);
    let left = look().unwrap();
    assert_eq!((left.dir.as_path(), left.device), (Path::new("/data/a store"), 77));
    assert_eq!(left.store_id, identity().store_id);
    assert_eq!(left.frontiers, WindowFrontiers { appended: 105, written: 100 });
    assert!(look().is_none(), "two do not take it");
    drop(left);
    assert!(Window::open(&path, identity()).unwrap().is_some(), "it is a window as before");
    for too_much in [PATH_BYTES_MAX as u64 + 1, u64::MAX] {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&too_much.to_ne_bytes(), 528).unwrap();
        assert!(look().is_none());
    }
    let longest = format!("/{}", "p".repeat(PATH_BYTES_MAX - 1));
    let window = Window::create(&path, 8192, identity(), 0).unwrap();
    window.note_place(Path::new(&format!("{longest}p")), 1);
    window.note_place(Path::new("relative"), 1);
    drop(window);
    assert!(look().is_none());
    let window = Window::create(&path, 8192, identity(), 0).unwrap();
    window.note_place(Path::new(&longest), 1);
    drop(window);
    assert_eq!(look().unwrap().dir, Path::new(&longest));
}
