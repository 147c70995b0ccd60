//! A client's mistake or our limit: a response code and a remark that names the field, the value and the limit.

use std::borrow::Cow;
use wire::codes::response;
use wire::req::FieldError;

/// Answer to a request that is not carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Response code.
    pub code: i32,
    /// Text for people.
    pub remark: Cow<'static, str>,
}

impl Refusal {
    /// What is asked of a broker that stops, and would begin something.
    pub(crate) fn stopping() -> Refusal {
        let remark = "service not available now (stage received): the broker is shutting down";
        Refusal::new(response::SERVICE_NOT_AVAILABLE, remark)
    }

    /// A refusal with this code and remark.
    pub fn new(code: i32, remark: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { code, remark: remark.into() }
    }
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Refusal {
        Refusal::new(response::SYSTEM_ERROR, error.to_string())
    }
}
