//! Crash images in numbers. `RINGMQ_IMAGES=n`: how many; `RINGMQ_SEED=n`: that seed only.

use super::disk::SimDisk;
use super::life::{Lives, Sabotage, Setup};
use super::random::Random;
use crate::disk::replace_file;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use store::stream::{FlushMode, SyncBy};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs one seed; counts its images.
fn run(setup: Setup, images: &AtomicU64) -> Result<(), String> {
    run_lives(setup, images, Lives::run)
}

fn run_lives(
    setup: Setup,
    images: &AtomicU64,
    run: fn(&mut Lives) -> Result<(), String>,
) -> Result<(), String> {
    let seed = setup.seed;
    let text = format!("{setup:?}");
    let mut lives = Lives::new(setup);
    let done = catch_unwind(AssertUnwindSafe(|| run(&mut lives)));
    images.fetch_add(lives.images, Ordering::Relaxed);
    let done = done.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or(panic.downcast_ref::<&str>().map(|s| (*s).to_string()));
        Err(format!("seed {seed}: it panics: {}", said.unwrap_or_default()))
    });
    done.map_err(|e| format!("{e}\n  {text}"))
}

#[test]
fn every_image_has_what_was_acknowledged_and_nothing_else() {
    let wanted = number("RINGMQ_IMAGES").unwrap_or(4000);
    let images = AtomicU64::new(0);
    if let Some(seed) = number("RINGMQ_SEED") {
        run(Setup::random(seed), &images).unwrap();
        return;
    }
    let next = AtomicU64::new(1);
    let failures = std::sync::Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while images.load(Ordering::Relaxed) < wanted && failures.lock().unwrap().len() < 5
                {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if let Err(failure) = run(Setup::random(seed), &images) {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let (images, seeds) = (images.into_inner(), next.into_inner() - 1);
    println!("{images} images of {seeds} seeds");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn failing_operations_lose_nothing_that_was_acknowledged_and_end_in_a_stop_at_most() {
    let images = AtomicU64::new(0);
    let seeds = match number("RINGMQ_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("RINGMQ_IMAGES").unwrap_or(800) / 4,
    };
    for seed in seeds {
        run_lives(Setup::random(seed), &images, Lives::run_with_faults).unwrap();
    }
}

/// Whether some seed finds what is broken on purpose.
fn finds(sabotage: Sabotage, change: impl Fn(&mut Setup)) -> String {
    let images = AtomicU64::new(0);
    for seed in 1..400 {
        let mut setup = Setup::random(seed);
        setup.flush = FlushMode::Sync;
        setup.sabotage = Some(sabotage);
        change(&mut setup);
        if let Err(found) = run(setup, &images) {
            println!("{sabotage:?} after {} images: {found}", images.into_inner());
            return found;
        }
    }
    panic!("{sabotage:?} is not found in {} images", images.into_inner());
}

#[test]
fn an_acknowledgement_before_the_flush_is_found() {
    let found = finds(Sabotage::AckBeforeFlush, |setup| setup.sync_by = SyncBy::Flush);
    assert!(found.contains("is owed"), "{found}");
}

#[test]
fn a_missing_sync_of_the_log_directory_is_found() {
    finds(Sabotage::NoSyncOfLogDir, |_| {});
}

#[test]
fn a_checkpoint_that_does_not_wait_for_the_queue_files_is_found() {
    finds(Sabotage::NoSyncOfQueues, |_| {});
}

#[test]
fn a_deletion_of_a_topic_that_is_not_synced_is_found() {
    let found = finds(Sabotage::NoSyncOfDeletions, |setup| setup.deletions = 3);
    assert!(found.contains("is back"), "{found}");
}

#[test]
fn records_behind_the_end_that_are_not_zeroed_are_found() {
    finds(Sabotage::NoZeroing, |_| {});
}

#[test]
fn a_file_that_is_replaced_is_the_old_or_the_new_one_whatever_happens() {
    let disk = SimDisk::empty();
    let path = Path::new("/table.json");
    let content = |n: u8| vec![n; 3000 + 100 * usize::from(n)];
    let mut done = Vec::new();
    for n in 0..10 {
        replace_file(&disk, path, &content(n)).unwrap();
        done.push(disk.events());
    }
    let moments: Vec<usize> = (0..=disk.events()).collect();
    let mut random = Random::new(1);
    disk.at(&moments, |at, state| {
        let replaced = done.partition_point(|events| *events <= at);
        for _ in 0..50 {
            let image = state.power_cut(&mut random);
            let found = image.content(path);
            let old = replaced.checked_sub(1).map(|n| content(u8::try_from(n).unwrap()));
            let new = content(u8::try_from(replaced).unwrap());
            assert!(found == old.as_deref() || found == Some(&new[..]), "event {at}: {found:?}");
        }
    });
}
