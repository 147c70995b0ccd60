//! What can go wrong between a client and a server.

use std::fmt;
use std::io;

/// Why a request has no good answer.
#[derive(Debug)]
pub enum Error {
    /// The connection could not be made, broke, or gave no answer in time (kind `TimedOut`).
    Io(io::Error),
    /// The server answered with a code that means failure.
    Refused {
        /// The response code, see `wire::codes::response`.
        code: i32,
        /// The server's words; empty when it gave none.
        remark: String,
    },
    /// The answer breaks the protocol, or the request cannot be expressed in it.
    Protocol(String),
}

impl Error {
    /// Whether nothing came in time; the connection is still usable.
    pub fn is_timeout(&self) -> bool {
        match self {
            Error::Io(error) => error.kind() == io::ErrorKind::TimedOut,
            Error::Refused { .. } | Error::Protocol(_) => false,
        }
    }

    /// The response code of a refusal.
    pub fn refused_code(&self) -> Option<i32> {
        match self {
            Error::Refused { code, .. } => Some(*code),
            Error::Io(_) | Error::Protocol(_) => None,
        }
    }

    pub(crate) fn protocol(error: impl fmt::Display) -> Error {
        Error::Protocol(error.to_string())
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) => error.fmt(f),
            Error::Refused { code, remark } => {
                let name = wire::codes::response_name(*code).unwrap_or("unknown code");
                write!(f, "refused with {code} ({name}): {remark}")
            }
            Error::Protocol(what) => write!(f, "protocol error: {what}"),
        }
    }
}

impl std::error::Error for Error {}
