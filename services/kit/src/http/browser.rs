//! For people who open an operation's page in a browser, which knows no tokens but asks for a password.

use data_encoding::BASE64;
use http::{HeaderMap, HeaderValue, Method, Request, header};

use crate::problem::{Problem, UNAUTHENTICATED};

/// By this a browser asks its user.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"tenantry\", charset=\"UTF-8\"");

/// Whether a request asks for a page: browsers name HTML when they go to one.
pub fn asks_for_page(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok()).any(|accept| accept.contains("text/html"))
}

/// Takes the password of Basic authentication (RFC 7617) for a token, where a page is asked for; the user's name says nothing. A browser sends it
/// with later requests too, also with those that other sites have it make: it counts for none that could change anything.
pub(super) fn take_password_for_token<B>(request: &mut Request<B>) {
    if !shows_page(request.method(), request.headers()) {
        return;
    }
    if let Some(mut token) = password(request.headers()).and_then(|password| HeaderValue::try_from(format!("Bearer {password}")).ok()) {
        token.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, token);
    }
}

/// Has a browser ask for a password.
pub(super) fn with_challenge<B>(problem: Problem, request: &Request<B>) -> Problem {
    let challenged = problem.kind() == UNAUTHENTICATED && shows_page(request.method(), request.headers());
    if challenged { problem.with_header(header::WWW_AUTHENTICATE, CHALLENGE) } else { problem }
}

fn shows_page(method: &Method, headers: &HeaderMap) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && asks_for_page(headers)
}

/// None where there are several credentials, which are refused as they are.
fn password(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(encoded.trim().as_bytes()).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}
