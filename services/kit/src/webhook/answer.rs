//! What a receiver's answer means for whoever may try again.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout_at};

use super::WebhookCredentialError;

/// How much of an answer is read, in bytes, and how much of it is told, in characters.
const READ: usize = 4096;
const TOLD: usize = 200;
/// The bounds of what a receiver may ask for by Retry-After.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Why a message was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum Undelivered {
    /// The credential cannot be used: nothing was sent.
    #[error(transparent)]
    Credential(#[from] WebhookCredentialError),
    /// No connection came about, as with a certificate that is not trusted, or it broke. The receiver may have taken the message all the same.
    #[error("the receiver was not reached, or the connection broke: {0}")]
    Unreachable(String),
    /// No answer came in time. The receiver may have taken the message all the same.
    #[error("the receiver did not answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The receiver asks for another try: 408, 425, 429, 5xx.
    #[error("the receiver answered {status}: {excerpt}")]
    Later {
        /// Its status.
        status: StatusCode,
        /// When to try again, if it said so: from a second to an hour.
        after: Option<Duration>,
        /// The beginning of its answer, in one line.
        excerpt: String,
    },
    /// Any other answer: the same message will not be taken the next time either.
    #[error("the receiver answered {status}{}: {excerpt}", if status.is_redirection() { ", and redirects are not followed" } else { "" })]
    Refused {
        /// Its status.
        status: StatusCode,
        /// The beginning of its answer, in one line.
        excerpt: String,
    },
}

/// 2xx is yes, whatever follows.
pub(super) async fn judge(response: Response<Incoming>, deadline: Instant, now: Timestamp) -> Result<(), Undelivered> {
    let (parts, body) = response.into_parts();
    let status = parts.status;
    if status.is_success() {
        return Ok(());
    }
    let excerpt = excerpt(&beginning(body, deadline).await);
    let is_passing = matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error();
    if is_passing {
        Err(Undelivered::Later { status, after: wait(&parts.headers, now), excerpt })
    } else {
        Err(Undelivered::Refused { status, excerpt })
    }
}

async fn beginning(body: Incoming, deadline: Instant) -> Vec<u8> {
    let (mut body, mut beginning) = (Limited::new(body, 2 * READ), Vec::new());
    while beginning.len() < READ {
        match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => beginning.extend(frame.into_data().unwrap_or_default()),
            Ok(Some(Err(_)) | None) | Err(_) => break,
        }
    }
    beginning.truncate(READ);
    beginning
}

/// Printable, in one line, and short: it goes into logs and lists.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let printable: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let line: String = printable.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(TOLD).collect();
    if line.is_empty() { "(no text)".to_owned() } else { line }
}

/// Retry-After, in seconds or as a date (RFC 9110, section 10.2.3).
fn wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            let ahead: SignedDuration = date.duration_since(now);
            Duration::try_from(ahead).unwrap_or_default()
        }
    };
    Some(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_within_bounds() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        let of = |text: &'static str| {
            wait(&HeaderMap::from_iter([(RETRY_AFTER, http::HeaderValue::from_static(text))]), now).map(|wait| wait.as_secs())
        };
        assert_eq!([of("30"), of("0"), of("999999999")], [Some(30), Some(1), Some(3600)]);
        assert_eq!([of("Sun, 06 Nov 1994 08:49:37 GMT"), of("Sat, 05 Nov 1994 08:49:37 GMT")], [Some(37), Some(1)]);
        assert_eq!([of("soon"), of(""), of("-1")], [None; 3]);
    }

    #[test]
    fn an_excerpt_is_one_short_printable_line() {
        assert_eq!(excerpt(b"<b>no</b>\r\n\x1b[31m  credit\0"), "<b>no</b> [31m credit");
        assert_eq!(excerpt(&[0xff, b'a']), "\u{fffd}a");
        assert_eq!(excerpt("ü".repeat(5000).as_bytes()).chars().count(), TOLD);
        assert_eq!(excerpt(b" \n"), "(no text)");
    }
}
