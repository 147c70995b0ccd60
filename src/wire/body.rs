//! Bodies: the JSON beans of requests and answers. Members are declared in the order of their Java names, which is
//! the order fastjson writes them in; those only 5.x has are optional and left out when absent.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::json::{self, OBJECT_KEY_MARK};

/// Declares a Java enum: written by name, read by name in any case or by ordinal; the first is the default.
macro_rules! java_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every value in the order of Java's ordinals.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// The Java name.
            pub fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)*
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::ALL[0]
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = $crate::body::lenient_text(deserializer)?;
                let by_name = Self::ALL.iter().find(|one| one.name().eq_ignore_ascii_case(&text));
                let by_ordinal = || text.parse().ok().and_then(|at: usize| Self::ALL.get(at));
                Ok(by_name.or_else(by_ordinal).copied().unwrap_or_default())
            }
        }
    };
}

pub mod broker;
pub mod client;
pub mod control;
pub mod register;
pub mod route;

/// `DataVersion`: tells one state of a table from another.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DataVersion {
    /// Counts the changes since the table was made.
    #[serde(deserialize_with = "lenient_number")]
    pub counter: i64,
    /// Epoch of the controller (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_version: Option<i64>,
    /// Milliseconds since 1970 of the last change.
    #[serde(deserialize_with = "lenient_number")]
    pub timestamp: i64,
}

/// The two lines compare alike: an absent `stateVersion` is 0.
impl PartialEq for DataVersion {
    fn eq(&self, other: &DataVersion) -> bool {
        self.counter == other.counter
            && self.timestamp == other.timestamp
            && self.state_version.unwrap_or(0) == other.state_version.unwrap_or(0)
    }
}

impl Eq for DataVersion {}

/// `MessageQueue`: one queue of a topic on one broker.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueue {
    /// Broker name.
    pub broker_name: String,
    /// Queue.
    #[serde(deserialize_with = "lenient_number")]
    pub queue_id: i32,
    /// Topic.
    pub topic: String,
}

/// A JSON object with text keys, in the order of the text: Java's hash order has no meaning, but keeping it lets a
/// body be written back as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table<V>(pub Vec<(String, V)>);

impl<V> Table<V> {
    /// The value of `key`, the last one if it is repeated.
    pub fn get(&self, key: &str) -> Option<&V> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Table(Vec::new())
    }
}

impl<V> FromIterator<(String, V)> for Table<V> {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(pairs: I) -> Self {
        Table(pairs.into_iter().collect())
    }
}

impl<V: Serialize> Serialize for Table<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Table<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Pairs(PhantomData)).map(Table)
    }
}

/// A JSON object whose keys are queues, written by fastjson as bare objects: use `json::write_object_keys`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ByQueue<V>(pub Vec<(MessageQueue, V)>);

impl<V> Default for ByQueue<V> {
    fn default() -> Self {
        ByQueue(Vec::new())
    }
}

impl<V: Serialize> Serialize for ByQueue<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (queue, value) in &self.0 {
            let mut key = OBJECT_KEY_MARK.to_string().into_bytes();
            json::write_default(&mut key, queue);
            map.serialize_entry(&String::from_utf8_lossy(&key), value)?;
        }
        map.end()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for ByQueue<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs: Vec<(String, V)> = deserializer.deserialize_map(Pairs(PhantomData))?;
        let read = pairs.into_iter().map(|(key, value)| {
            let queue = serde_json::from_str(&key).map_err(serde::de::Error::custom)?;
            Ok((queue, value))
        });
        read.collect::<Result<_, _>>().map(ByQueue)
    }
}

/// Reads an object as pairs in order.
struct Pairs<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Pairs<V> {
    type Value = Vec<(String, V)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

/// A number that may come as text or null (C++ clients send `subVersion` as text); null and empty text are 0.
pub(crate) fn lenient_number<'de, D, N>(deserializer: D) -> Result<N, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<i64> + Default,
{
    let text = lenient_text(deserializer)?;
    if text.is_empty() {
        return Ok(N::default());
    }
    let number: Option<i64> = text.parse().ok();
    number
        .and_then(|number| N::try_from(number).ok())
        .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a number of this type")))
}

/// A list of numbers, each of which may come as text (C++ clients send `codeSet` so); null is empty.
pub(crate) fn lenient_numbers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<i32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Number(#[serde(deserialize_with = "lenient_number")] i32);
    let list: Vec<Number> = or_default(deserializer)?;
    Ok(list.into_iter().map(|Number(number)| number).collect())
}

/// A truth value that may come as text, number or null.
pub(crate) fn lenient_bool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let text = lenient_text(deserializer)?;
    Ok(text == "1" || text.eq_ignore_ascii_case("true"))
}

/// A scalar as its text; null is empty.
pub(crate) fn lenient_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_any(Scalar)
}

/// Null as the default.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

struct Scalar;

impl Visitor<'_> for Scalar {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number or a truth value")
    }

    fn visit_str<E>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }

    fn visit_string<E>(self, value: String) -> Result<String, E> {
        Ok(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_bool<E>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_unit<E>(self) -> Result<String, E> {
        Ok(String::new())
    }
}

/// `KVTable`: answers to 28, 103 and 219.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    /// The pairs.
    #[serde(deserialize_with = "or_default")]
    pub table: Table<String>,
}

/// `TopicList`: answers to 206, 224, 304, 305 and others.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicList {
    /// Address of some broker, in answers to 304.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_addr: Option<String>,
    /// The topics.
    #[serde(deserialize_with = "or_default")]
    pub topic_list: Vec<String>,
}

/// Reads a bean; shorthand for `json::from_slice` at places that name no type.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, json::BodyError> {
    json::from_slice(bytes)
}

#[cfg(test)]
mod tests;
