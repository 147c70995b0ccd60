//! A frame of the protocol in its parts, for tests that take frames apart and make odd ones.

use std::collections::BTreeMap;
use wire::{FrameHead, FrameWriter, Header, SerializeType};

/// A whole frame, decoded.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) serialize: SerializeType,
    pub(crate) code: i32,
    pub(crate) opaque: i32,
    pub(crate) flag: i32,
    pub(crate) version: i32,
    pub(crate) remark: Option<String>,
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Parts {
    /// Decodes a whole frame; `None` for bytes that are none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Parts> {
        let (frame, _) = wire::frame::split(bytes).ok()??;
        let header = Header::decode(&frame).ok()?;
        let fields = header.fields.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        Some(Parts {
            serialize: frame.serialize,
            code: header.code,
            opaque: header.opaque,
            flag: header.flag,
            version: header.version,
            remark: header.remark.map(|remark| remark.to_string()),
            fields: fields.collect(),
            body: frame.body.to_vec(),
        })
    }

    /// Whether this answers a request.
    pub(crate) fn is_answer(&self) -> bool {
        self.flag & 1 != 0
    }

    /// Whether this is a request that nobody answers.
    pub(crate) fn is_oneway(&self) -> bool {
        self.flag & 2 != 0
    }

    /// The frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let head = FrameHead {
            serialize: self.serialize,
            code: self.code,
            opaque: self.opaque,
            flag: self.flag,
            version: self.version,
        };
        let mut bytes = Vec::new();
        let mut writer = FrameWriter::begin(&mut bytes, head);
        if let Some(remark) = &self.remark {
            writer.remark(remark);
        }
        for (name, value) in &self.fields {
            writer.field_str(name, value.as_bytes());
        }
        let mut body = writer.body();
        body.bytes().extend_from_slice(&self.body);
        body.finish();
        bytes
    }
}
