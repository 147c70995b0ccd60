//! Request codes and header fields, read from the sources of `wire`, so that a new one is attacked without a word here.

/// A field of a request header.
pub(crate) struct Field {
    /// Key on the wire.
    pub(crate) key: String,
    /// Whether a request without it is whole.
    pub(crate) is_optional: bool,
    /// Whether any text is a value.
    pub(crate) is_text: bool,
}

/// A request header.
pub(crate) struct Row {
    /// Request code.
    pub(crate) code: i32,
    /// Its fields.
    pub(crate) fields: Vec<Field>,
}

const SOURCES: [&str; 3] = [
    include_str!("../../src/wire/req/client.rs"),
    include_str!("../../src/wire/req/namesrv.rs"),
    include_str!("../../src/wire/req/send.rs"),
];

/// `name: Type = default => b"key";` of the macros `headers!` and `codec!`.
fn field(line: &str) -> Option<Field> {
    let (left, right) = line.split_once("=> b\"")?;
    let key = right.split('"').next()?.to_owned();
    let (_, kind) = left.split_once(':')?;
    let is_optional = kind.contains("Option<") || kind.contains('=');
    Some(Field { key, is_optional, is_text: kind.contains("Text<") })
}

/// The numbers in a doc comment that begins with `Code`.
fn codes(line: &str) -> Option<Vec<i32>> {
    let text = line.strip_prefix("/// Code")?;
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|part| part.len() > 1);
    Some(numbers.filter_map(|part| part.parse().ok()).collect())
}

/// Every request header with each of its codes.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for source in SOURCES {
        let mut open: Vec<i32> = Vec::new();
        for line in source.lines().map(str::trim) {
            if let Some(found) = codes(line) {
                open = found;
            } else if line.contains("decode_v1, encode_v1") {
                open = vec![10, 324];
            } else if line.contains("decode_v2, encode_v2") {
                open = vec![310, 320, 325];
            } else if line.starts_with('}') {
                open.clear();
            } else if field(line).is_some() {
                for code in &open {
                    if !rows.iter().any(|row| row.code == *code) {
                        rows.push(Row { code: *code, fields: Vec::new() });
                    }
                    let row = rows.iter_mut().find(|row| row.code == *code);
                    row.expect("just made").fields.extend(field(line));
                }
            }
        }
    }
    rows
}

/// Names and numbers of all request codes.
pub(crate) fn request_codes() -> Vec<(String, i32)> {
    let source = include_str!("../../src/wire/codes.rs");
    let start = source.find("request, request_name:").expect("the table of request codes");
    let table = &source[start..];
    let table = &table[..table.find('}').expect("the end of the table")];
    let rows = table.lines().filter_map(|line| {
        let (name, number) = line.trim().strip_suffix(',')?.split_once(" = ")?;
        Some((name.to_owned(), number.parse().ok()?))
    });
    rows.collect()
}

/// Zlib data that inflates to so many zeros.
pub(crate) fn deflated_zeros(bytes: usize) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&vec![0; bytes]).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}
