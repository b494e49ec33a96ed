//! What handlers take from a request. Unlike axum's own, every refusal is a problem that names the member at fault.

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::Limits;
use crate::json_pointer;
use crate::problem::{BODY_TOO_LARGE, INVALID_BODY, INVALID_PARAMETER, MALFORMED_JSON, Problem, UNSUPPORTED_MEDIA_TYPE};

/// How much of a body that is too large is read and thrown away, in limits, so that a client that writes before it reads
/// still gets the answer.
const DISCARDED_LIMITS: usize = 16;

/// A JSON body.
#[derive(Debug, Clone, Copy)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let limit = request.extensions().get().copied().unwrap_or_else(Limits::default).body_bytes;
        let is_json = is_json(request.headers());
        // read even what will be refused: an answer before the body's end may be lost to the client
        let bytes = read_body(request.into_body(), limit).await?;
        if !is_json {
            return Err(Problem::new(UNSUPPORTED_MEDIA_TYPE, "send JSON with the header `Content-Type: application/json`"));
        }
        parse_json(&bytes).map(Self)
    }
}

/// The body's media type, in lower case and without parameters; empty if none is given.
#[must_use]
pub fn media_type(headers: &HeaderMap) -> String {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether the body is JSON by its media type.
#[must_use]
pub fn is_json(headers: &HeaderMap) -> bool {
    let media_type = media_type(headers);
    media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// Reads a body of at most `limit` bytes, for operations whose bodies [`JsonBody`] does not suit.
///
/// # Errors
/// When it is longer, or breaks off.
pub async fn read_body(mut body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::with_capacity(body.size_hint().lower().min(limit as u64) as usize);
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::new(MALFORMED_JSON, "the body broke off: send it whole"))?;
        let Ok(data) = frame.into_data() else { continue };
        received += data.len();
        if received <= limit {
            bytes.extend_from_slice(&data);
        } else if received > limit.saturating_mul(DISCARDED_LIMITS) {
            break;
        }
    }
    if received > limit {
        return Err(Problem::new(BODY_TOO_LARGE, format!("the body may have at most {limit} bytes: send less at once")));
    }
    Ok(bytes)
}

/// Reads `bytes` as one JSON value.
///
/// # Errors
/// With the place of what is wrong, as a JSON Pointer.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // to keep track of the place costs half as much again: only what is wrong is read for it
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = json_pointer::of(error.path());
        refusal(error.inner(), &pointer)
    })?;
    deserializer.end().map_err(|error| refusal(&error, ""))?;
    Ok(value)
}

fn refusal(error: &serde_json::Error, pointer: &str) -> Problem {
    match error.classify() {
        Category::Data => {
            let place = if pointer.is_empty() { "the body" } else { pointer };
            Problem::new(INVALID_BODY, format!("{place}: {error}")).with_error(pointer, error.to_string())
        }
        Category::Syntax | Category::Eof | Category::Io => Problem::new(MALFORMED_JSON, error.to_string()),
    }
}

/// The parameters in the path.
#[derive(Debug, Clone, Copy)]
pub struct PathParameters<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathParameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(value) =
            Path::from_request_parts(parts, state).await.map_err(|rejection| Problem::new(INVALID_PARAMETER, rejection.body_text()))?;
        Ok(Self(value))
    }
}

/// The parameters in the query. Give `T` `deny_unknown_fields`: a parameter that is misspelled is then refused.
#[derive(Debug, Clone, Copy)]
pub struct QueryParameters<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for QueryParameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(value) =
            Query::from_request_parts(parts, state).await.map_err(|rejection| Problem::new(INVALID_PARAMETER, rejection.body_text()))?;
        Ok(Self(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::ProblemKind;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        items: Vec<Item>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Item {
        count: u8,
    }

    fn refused(json: &str) -> (ProblemKind, String) {
        let problem = parse_json::<Order>(json.as_bytes()).unwrap_err();
        (problem.kind(), problem.detail().to_owned())
    }

    #[test]
    fn a_wrong_member_is_named_by_its_json_pointer() {
        let (kind, detail) = refused(r#"{"items":[{"count":1},{"count":"two"}]}"#);
        assert_eq!(kind, INVALID_BODY);
        assert!(detail.starts_with("/items/1/count: invalid type: string \"two\""), "{detail}");
        assert_eq!(refused(r#"{"items":[],"color":1}"#).0, INVALID_BODY);
        assert_eq!(refused("{}").0, INVALID_BODY);
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for text in ["", "{", "{\"items\":[]}x", "{'items':[]}", "\u{feff}{}"] {
            assert_eq!(refused(text).0, MALFORMED_JSON, "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_before_it_takes_the_stack() {
        let deep = "[".repeat(1_000_000);
        assert!(parse_json::<Order>(deep.as_bytes()).is_err());
        assert_eq!(parse_json::<serde_json::Value>(deep.as_bytes()).unwrap_err().kind(), MALFORMED_JSON);
    }
}
