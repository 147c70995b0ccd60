//! Settings by namespace and key, kept in a file. Java: `KVConfigManager`.
//!
//! The file is `{"configTable":{"namespace":{"key":"value"}}}`, as Java writes it. A namespace stays when its last key
//! is deleted, and answers as empty. This module reads the file; writing is `save`'s.

use crate::limit::{self, LimitError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use wire::body::KvTable;
use wire::body::Table;
use wire::json;

/// Namespace of order topics: values are `broker:queues;...`.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Longest file that is read: a file at the limit of settings, every byte escaped.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The file.
#[derive(Serialize, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct KvFile {
    config_table: Option<BTreeMap<String, BTreeMap<String, String>>>,
}

/// All settings.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KvConfig {
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    settings: usize,
    bytes: usize,
}

impl KvConfig {
    /// Reads the file; a missing or empty one is no settings. Errors name the file.
    pub fn load(path: &Path) -> Result<KvConfig, String> {
        let failed = |what: String| format!("kvConfigPath {}: {what}", path.display());
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(KvConfig::default());
            }
            Err(error) => return Err(failed(format!("cannot be opened: {error}"))),
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| failed(format!("cannot be read: {error}")))?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
            return Err(failed(format!("is longer than the limit of {FILE_BYTES_MAX} bytes")));
        }
        KvConfig::decode(&bytes).map_err(failed)
    }

    fn decode(bytes: &[u8]) -> Result<KvConfig, String> {
        let mut config = KvConfig::default();
        if bytes.trim_ascii().is_empty() {
            return Ok(config);
        }
        let file: KvFile = json::from_slice(bytes).map_err(|error| error.what)?;
        for (namespace, settings) in file.config_table.unwrap_or_default() {
            config.namespaces.entry(namespace.clone()).or_default();
            for (key, value) in settings {
                config
                    .put(&namespace, &key, &value)
                    .map_err(|error| format!("namespace {namespace:?}, key {key:?}: {error}"))?;
            }
        }
        Ok(config)
    }

    /// The content of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let file = KvFile { config_table: Some(self.namespaces.clone()) };
        json::write_default(&mut out, &file);
        out
    }

    /// One setting.
    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.namespaces.get(namespace)?.get(key).map(String::as_str)
    }

    /// Adds or replaces a setting.
    pub fn put(&mut self, namespace: &str, key: &str, value: &str) -> Result<(), LimitError> {
        limit::check("bytes of the namespace", namespace.len(), limit::NAME_BYTES_MAX)?;
        limit::check("bytes of the key", key.len(), limit::NAME_BYTES_MAX)?;
        limit::check("bytes of the value", value.len(), limit::VALUE_BYTES_MAX)?;
        let old = self.get(namespace, key);
        let bytes =
            self.bytes + key.len() + value.len() - old.map_or(0, |old| key.len() + old.len());
        let settings = self.settings + usize::from(old.is_none());
        limit::check("bytes of all settings", bytes, limit::SETTINGS_BYTES_MAX)?;
        limit::check("the number of settings", settings, limit::SETTINGS_MAX)?;
        if !self.namespaces.contains_key(namespace) {
            if self.namespaces.len() >= limit::NAMESPACES_MAX {
                self.namespaces.retain(|_, settings| !settings.is_empty());
            }
            let count = self.namespaces.len() + 1;
            limit::check("the number of namespaces", count, limit::NAMESPACES_MAX)?;
        }
        let table = self.namespaces.entry(namespace.to_owned()).or_default();
        table.insert(key.to_owned(), value.to_owned());
        (self.bytes, self.settings) = (bytes, settings);
        Ok(())
    }

    /// Removes a setting; whether it was there.
    pub fn delete(&mut self, namespace: &str, key: &str) -> bool {
        let table = self.namespaces.get_mut(namespace);
        let Some(value) = table.and_then(|table| table.remove(key)) else { return false };
        self.bytes -= key.len() + value.len();
        self.settings -= 1;
        true
    }

    /// All settings of a namespace; `None` when it never had one.
    pub fn list(&self, namespace: &str) -> Option<KvTable> {
        let settings = self.namespaces.get(namespace)?;
        let pairs = settings.iter().map(|(key, value)| (key.clone(), value.clone()));
        Some(KvTable { table: Table(pairs.collect()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_their_file() {
        let mut config = KvConfig::default();
        config.put("ORDER_TOPIC_CONFIG", "T", "broker-a:4").unwrap();
        config.put("empty", "k", "v").unwrap();
        assert!(config.delete("empty", "k"));
        assert!(!config.delete("empty", "k"));
        let text = config.encode();
        assert_eq!(
            String::from_utf8(text.clone()).unwrap(),
            r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T":"broker-a:4"},"empty":{}}}"#
        );
        assert_eq!(KvConfig::decode(&text).unwrap(), config);
        assert_eq!(config.list("empty").unwrap().table.0, []);
        assert_eq!(config.list("none"), None);
    }

    #[test]
    fn a_missing_file_is_no_settings_and_a_damaged_one_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kvConfig.json");
        assert_eq!(KvConfig::load(&path), Ok(KvConfig::default()));
        std::fs::write(&path, " \n").unwrap();
        assert_eq!(KvConfig::load(&path), Ok(KvConfig::default()));
        std::fs::write(&path, "{\"configTable\":{").unwrap();
        let error = KvConfig::load(&path).unwrap_err();
        assert!(error.contains("kvConfig.json"), "{error}");
        std::fs::write(&path, "{\"configTable\":null}").unwrap();
        assert_eq!(KvConfig::load(&path), Ok(KvConfig::default()));
    }

    #[test]
    fn growth_ends_at_the_limits() {
        let mut config = KvConfig::default();
        let big = "v".repeat(limit::VALUE_BYTES_MAX);
        let error = config.put("n", "k", &(big.clone() + "v")).unwrap_err();
        assert_eq!(error.to_string(), "bytes of the value would be 262145, the limit is 262144");
        for number in 0..40 {
            if let Err(error) = config.put("n", &number.to_string(), &big) {
                assert_eq!((error.what, number), ("bytes of all settings", 31));
                break;
            }
        }
        // A replaced value counts once, and deleting makes room.
        config.put("n", "0", &big).unwrap();
        config.delete("n", "0");
        config.put("n", "x", &big).unwrap();
    }
}
