//! One request and its answer.

use crate::limit::LimitError;
use crate::routes::RegisterError;
use crate::save::SavedFile;
use base::ids::ConnId;
use base::time::Now;
use serde::Serialize;
use wire::codes::{MQ_VERSION_5_5_0, response};
use wire::header::FLAG_RESPONSE;
use wire::json::{self, BodyError};
use wire::{FieldError, FrameHead, FrameWriter, Header, SerializeType};

/// What a handler gets.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) header: Header<'a>,
    pub(crate) body: &'a [u8],
    pub(crate) conn: ConnId,
    pub(crate) now: Now,
}

impl Request<'_> {
    /// Starts an answer; in JSON, which every client reads whatever it sends.
    pub(crate) fn answer<'o>(&self, out: &'o mut Vec<u8>, code: i32) -> FrameWriter<'o> {
        begin(out, self.header.opaque, code)
    }

    /// An answer that says no more than that all is well.
    pub(crate) fn success(&self, out: &mut Vec<u8>) -> Result<Answer, Refusal> {
        self.answer(out, response::SUCCESS).finish();
        Ok(Answer::Written)
    }

    /// An answer with a body in fastjson's default mode.
    pub(crate) fn bean<T: Serialize>(
        &self,
        out: &mut Vec<u8>,
        bean: &T,
    ) -> Result<Answer, Refusal> {
        let mut body = self.answer(out, response::SUCCESS).body();
        json::write_default(body.bytes(), bean);
        body.finish();
        Ok(Answer::Written)
    }
}

/// Starts the answer to request `opaque`.
pub(crate) fn begin(out: &mut Vec<u8>, opaque: i32, code: i32) -> FrameWriter<'_> {
    FrameWriter::begin(
        out,
        FrameHead {
            serialize: SerializeType::Json,
            code,
            opaque,
            flag: FLAG_RESPONSE,
            version: MQ_VERSION_5_5_0,
        },
    )
}

/// How a request was dealt with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// The answer is in the output.
    Written,
    /// Success is answered when the file holds the change.
    AfterSave(SavedFile),
}

/// Why a request was not carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: i32,
    pub(crate) remark: String,
}

impl Refusal {
    pub(crate) fn new(code: i32, remark: impl Into<String>) -> Refusal {
        Refusal { code, remark: remark.into() }
    }
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        Refusal::new(response::SYSTEM_ERROR, error.to_string())
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        Refusal::new(response::SYSTEM_ERROR, error.to_string())
    }
}

impl From<LimitError> for Refusal {
    fn from(error: LimitError) -> Self {
        Refusal::new(response::SYSTEM_ERROR, error.to_string())
    }
}

impl From<RegisterError> for Refusal {
    fn from(error: RegisterError) -> Self {
        Refusal::new(response::SYSTEM_ERROR, error.to_string())
    }
}
