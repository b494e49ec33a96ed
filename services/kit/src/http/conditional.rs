//! Optimistic concurrency (RFC 9110, 8.8.3 and 13.1.1): an answer carries the strong entity tag of what it tells, a change names the tag of
//! the version that it is made to, in `If-Match`.

use std::convert::Infallible;
use std::fmt::{self, Display};

use axum::extract::FromRequestParts;
use axum::response::{IntoResponseParts, ResponseParts};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};

use crate::problem::{INVALID_PARAMETER, PRECONDITION_FAILED, PRECONDITION_REQUIRED, Problem};

/// A strong entity tag: two answers with the same one are the same, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag(String);

impl EntityTag {
    /// The tag of a version. Characters that no tag can have become underscores.
    pub fn new(version: impl Display) -> Self {
        let is_of_a_tag = |character: char| character == '!' || ('#'..='~').contains(&character);
        Self(version.to_string().chars().map(|character| if is_of_a_tag(character) { character } else { '_' }).collect())
    }
}

impl Display for EntityTag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\"", self.0)
    }
}

impl IntoResponseParts for EntityTag {
    type Error = Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        let value = HeaderValue::from_str(&self.to_string()).expect("a tag has visible ASCII characters only");
        response.headers_mut().insert(header::ETAG, value);
        Ok(response)
    }
}

/// The condition of a request that may have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfMatch(Condition);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// None was given.
    None,
    /// Every version that exists, `*`.
    Exists,
    /// These versions.
    Versions(Vec<EntityTag>),
}

impl IfMatch {
    /// Whether the version with this tag is what the request is made to. Without a condition, and with `*`, every version is.
    #[must_use]
    pub fn holds_for(&self, current: &EntityTag) -> bool {
        match &self.0 {
            Condition::None | Condition::Exists => true,
            Condition::Versions(tags) => tags.contains(current),
        }
    }

    /// Whether there is a condition: it fails for what does not exist.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.0 != Condition::None
    }

    /// The problem that the current version is another.
    #[must_use]
    pub fn failed(current: &EntityTag) -> Problem {
        let detail = format!("it has changed since: read it again, and send the change with `If-Match: {current}` if it still applies");
        Problem::new(PRECONDITION_FAILED, detail)
    }

    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut condition = Condition::None;
        for value in headers.get_all(header::IF_MATCH) {
            let text = value.to_str().map_err(|_| malformed())?;
            if text.trim() == "*" {
                return Ok(Self(Condition::Exists));
            }
            let tags = parse_tags(text).ok_or_else(malformed)?;
            match &mut condition {
                Condition::Versions(all) => all.extend(tags),
                Condition::None | Condition::Exists => condition = Condition::Versions(tags),
            }
        }
        Ok(Self(condition))
    }
}

/// The strong tags of a list; weak ones never match here (RFC 9110, 8.8.3.2), and are left out.
fn parse_tags(text: &str) -> Option<Vec<EntityTag>> {
    let mut tags = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (is_weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let (tag, after) = quoted.strip_prefix('"')?.split_once('"')?;
        if !is_weak {
            tags.push(EntityTag(tag.to_owned()));
        }
        rest = match after.trim_start() {
            "" => "",
            more => more.strip_prefix(',')?.trim_start(),
        };
    }
    Some(tags)
}

fn malformed() -> Problem {
    Problem::new(INVALID_PARAMETER, "the If-Match header is not of the form `If-Match: \"<tag>\"`: send the ETag of the answer as it came")
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.headers)
    }
}

/// The condition of a request that must have one: without `If-Match` it is refused with 428 (RFC 6585).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredIfMatch(pub IfMatch);

impl<S: Send + Sync> FromRequestParts<S> for RequiredIfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let condition = IfMatch::of(&parts.headers)?;
        if !condition.is_given() {
            let detail = "read the object first, and send its ETag in the header `If-Match` with the change";
            return Err(Problem::new(PRECONDITION_REQUIRED, detail));
        }
        Ok(Self(condition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(values: &[&str]) -> Result<IfMatch, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, HeaderValue::from_str(value).unwrap());
        }
        IfMatch::of(&headers).map_err(|problem| problem.detail().to_owned())
    }

    fn holds(values: &[&str], version: &str) -> bool {
        condition(values).unwrap().holds_for(&EntityTag::new(version))
    }

    #[test]
    fn the_tag_that_was_sent_matches_and_another_does_not() {
        assert!(holds(&["\"3\""], "3"));
        assert!(!holds(&["\"3\""], "4"));
        assert!(holds(&["\"1\", \"3\""], "3"));
        assert!(holds(&["\"1\"", "\"3\""], "3"));
        assert!(holds(&["*"], "3"));
        assert!(holds(&[], "3"));
        assert!(condition(&["*"]).unwrap().is_given() && !condition(&[]).unwrap().is_given());
    }

    #[test]
    fn a_weak_tag_never_matches() {
        assert!(!holds(&["W/\"3\""], "3"));
    }

    #[test]
    fn other_forms_are_refused() {
        for value in ["3", "\"3", "\"3\" \"4\"", "3\""] {
            assert!(condition(&[value]).is_err(), "{value}");
        }
    }

    #[test]
    fn a_tag_has_no_character_that_would_end_it() {
        assert_eq!(EntityTag::new("a\"b c").to_string(), "\"a_b_c\"");
    }
}
