//! Tag subscriptions: `*` or `a || b`. Java: `FilterAPI.buildSubscriptionData`, `ExpressionMessageFilter`.

use crate::java_hash::tag_code;

/// Which messages a tag subscription wants, decided by the hash in the consume queue.
///
/// Two tags may share a hash; consumers check the text again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TagFilter {
    /// Every message passes.
    pub all: bool,
    /// Codes of the wanted tags, sorted, without repetition; unused when `all` is set.
    pub codes: Vec<i64>,
}

/// The subscription is made of separators alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoTag;

impl std::fmt::Display for NoTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the subscription is made of \"||\" alone")
    }
}

impl std::error::Error for NoTag {}

impl TagFilter {
    /// The filter that lets everything pass.
    pub fn everything() -> TagFilter {
        TagFilter { all: true, codes: Vec::new() }
    }

    /// A filter of codes, as a heartbeat's `codeSet` lists them.
    pub fn from_codes(codes: impl IntoIterator<Item = i64>) -> TagFilter {
        let mut codes: Vec<i64> = codes.into_iter().collect();
        codes.sort_unstable();
        codes.dedup();
        TagFilter { all: false, codes }
    }

    /// Reads a subscription expression of type TAG.
    pub fn parse(expression: &str) -> Result<TagFilter, NoTag> {
        if expression.is_empty() || expression == "*" {
            return Ok(TagFilter::everything());
        }
        // What is blank between separators is no tag; such a subscription matches nothing, as in Java.
        if expression.split("||").all(str::is_empty) {
            return Err(NoTag);
        }
        Ok(TagFilter::from_codes(tags(expression).map(|tag| tag_code(tag.as_bytes()))))
    }

    /// Whether a message whose consume queue unit has this code may pass.
    pub fn matches(&self, tags_code: i64) -> bool {
        self.all || self.codes.binary_search(&tags_code).is_ok()
    }
}

/// The tags of a subscription expression, trimmed, none empty.
pub fn tags(expression: &str) -> impl Iterator<Item = &str> {
    // Java's `trim` takes control characters, too, and no other blanks.
    expression.split("||").map(|tag| tag.trim_matches(|c| c <= ' ')).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_and_nothing_mean_everything() {
        for expression in ["*", ""] {
            assert!(TagFilter::parse(expression).unwrap().matches(12345));
        }
    }

    #[test]
    fn listed_tags_pass_and_no_others() {
        let filter = TagFilter::parse(" TagA||  标签 ||").unwrap();
        assert!(filter.matches(tag_code(b"TagA")) && filter.matches(tag_code("标签".as_bytes())));
        assert!(!filter.matches(tag_code(b"TagB")) && !filter.matches(0));
    }

    #[test]
    fn what_is_blank_is_no_tag() {
        for expression in ["||", "||||"] {
            assert_eq!(TagFilter::parse(expression), Err(NoTag));
        }
        for expression in [" || ", "|| ", " "] {
            assert_eq!(
                TagFilter::parse(expression),
                Ok(TagFilter::from_codes([])),
                "{expression:?}"
            );
        }
        assert_eq!(tags("\t a\u{1}|||b||\u{a0}c").collect::<Vec<_>>(), ["a", "|b", "\u{a0}c"]);
    }
}
