//! The body of a batch send (code 320): items back to back. Java: `MessageDecoder.encodeMessages`, `MessageExtEncoder`.
//!
//! An item: int32 total size, int32 magic 0, int32 body CRC 0, int32 flag, int32 length and body, int16 length and
//! properties. As in Java the first three words are not looked at. Every length is compared with the bytes at hand.

use crate::message::MessageError;

/// Bytes of an item besides its body and properties.
const ITEM_FIXED_BYTES: usize = 22;

/// One message of a client batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchItem<'a> {
    /// The user's flag.
    pub flag: i32,
    /// The body.
    pub body: &'a [u8],
    /// Properties text.
    pub properties: &'a [u8],
}

/// Walks the items of a batch body. After an error nothing more comes.
#[derive(Clone, Debug)]
pub struct BatchItems<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> BatchItems<'a> {
    /// Starts at the first item of `body`.
    pub fn new(body: &'a [u8]) -> Self {
        BatchItems { rest: body, total: body.len() }
    }

    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], MessageError> {
        let Some((value, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(MessageError { what, at: self.total - self.rest.len() });
        };
        self.rest = rest;
        Ok(*value)
    }

    fn bytes(&mut self, length: i64, what: &'static str) -> Result<&'a [u8], MessageError> {
        let at = self.total - self.rest.len();
        let parts =
            usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((value, rest)) = parts else {
            return Err(MessageError { what, at });
        };
        self.rest = rest;
        Ok(value)
    }

    fn item(&mut self) -> Result<BatchItem<'a>, MessageError> {
        self.take::<12>("the batch item is cut before its flag")?;
        let flag = i32::from_be_bytes(self.take("the batch item is cut in its flag")?);
        let length = i32::from_be_bytes(self.take("the batch item is cut before its body")?);
        let body = self.bytes(i64::from(length), "the body length of a batch item does not fit")?;
        let length = i16::from_be_bytes(self.take("the batch item is cut before its properties")?);
        let properties =
            self.bytes(i64::from(length), "the properties length of a batch item does not fit")?;
        Ok(BatchItem { flag, body, properties })
    }
}

impl<'a> Iterator for BatchItems<'a> {
    type Item = Result<BatchItem<'a>, MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.item();
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}

/// Appends an item as a client writes it. Panics when its properties or body have no place in the format.
pub fn encode_item(out: &mut Vec<u8>, item: &BatchItem<'_>) {
    let total = ITEM_FIXED_BYTES + item.body.len() + item.properties.len();
    let total = i32::try_from(total).expect("a batch item is far below 2 GiB");
    let body = i32::try_from(item.body.len()).expect("a body is far below 2 GiB");
    let properties =
        i16::try_from(item.properties.len()).expect("properties have at most 32767 bytes");
    out.extend_from_slice(&total.to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&item.flag.to_be_bytes());
    out.extend_from_slice(&body.to_be_bytes());
    out.extend_from_slice(item.body);
    out.extend_from_slice(&properties.to_be_bytes());
    out.extend_from_slice(item.properties);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_and_every_cut_is_an_error() {
        let items = [
            BatchItem { flag: 7, body: b"one", properties: b"TAGS\x01a\x02" },
            BatchItem { flag: -1, body: b"", properties: b"" },
        ];
        let mut body = Vec::new();
        encode_item(&mut body, &items[0]);
        let first = body.len();
        encode_item(&mut body, &items[1]);
        let read: Result<Vec<_>, _> = BatchItems::new(&body).collect();
        assert_eq!(read.unwrap(), items);
        for end in 1..body.len() {
            let read: Vec<_> = BatchItems::new(&body[..end]).collect();
            assert_eq!(read.last().unwrap().is_err(), end != first, "{end}");
        }
    }

    #[test]
    fn lying_lengths_are_errors() {
        let mut body = Vec::new();
        encode_item(&mut body, &BatchItem { flag: 0, body: b"12345", properties: b"k\x01v" });
        let mut negative = body.clone();
        negative[16] = 0x80;
        assert_eq!(
            BatchItems::new(&negative).next().unwrap().unwrap_err(),
            MessageError { what: "the body length of a batch item does not fit", at: 20 }
        );
        let mut properties = body.clone();
        properties[25] = 0x7F;
        assert!(BatchItems::new(&properties).next().unwrap().is_err());
    }
}
