//! Stores that Java brokers wrote, `tests/golden/store`, and the damages that were recorded with them.

use super::Data;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One of the recorded files.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store").join(name)
}

/// Names of the recorded stores.
pub(crate) fn names() -> Vec<String> {
    let entries = fs::read_dir(file("")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter_map(|name| name.strip_suffix(".tar.gz").map(str::to_owned)).collect();
    names.sort();
    names
}

/// A recorded file of compressed JSON.
pub(crate) fn read_json(name: &str) -> Value {
    serde_json::from_reader(GzDecoder::new(File::open(file(name)).unwrap())).unwrap()
}

/// A recorded store, unpacked.
pub(crate) fn unpack(name: &str) -> Data {
    let data = Data::new();
    fs::create_dir_all(data.store()).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-xSzf").arg(file(&format!("{name}.tar.gz")));
    tar.arg("-C").arg(data.store()).arg("--strip-components=1");
    assert!(tar.status().unwrap().success(), "tar unpacks {name}");
    data
}

/// Changes files of a store as the recorder of a damaged variant did.
pub(crate) fn damage(data: &Data, variant: &Value) {
    for operation in variant["operations"].as_array().unwrap() {
        let path = data.store().join(operation["path"].as_str().unwrap());
        let number = |key: &str| usize::try_from(operation[key].as_u64().unwrap()).unwrap();
        let (at, len) = (number("offset"), number("length"));
        match operation["op"].as_str().unwrap() {
            "delete" => fs::remove_dir_all(path).unwrap(),
            op => {
                let mut bytes = fs::read(&path).unwrap();
                for byte in &mut bytes[at..at + len] {
                    *byte = if op == "zero" { 0 } else { *byte ^ 1 };
                }
                fs::write(&path, bytes).unwrap();
            }
        }
    }
}
