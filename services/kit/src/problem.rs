//! Problem details (RFC 9457): the one shape in which every API answers an error. Stands at the edge: handlers and layers
//! return a [`Problem`], the outermost layer ([`crate::http`]) writes the request's id into it.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A kind of problem: what its `type` URI identifies. Declared as a constant, so that the set of kinds is found by grep and
/// a URI never changes by accident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemKind {
    slug: &'static str,
    status: StatusCode,
    title: &'static str,
}

impl ProblemKind {
    /// A kind whose `type` is `urn:tenantry:problem:<slug>`. The title says what is wrong in general, the same every time.
    pub const fn new(slug: &'static str, status: StatusCode, title: &'static str) -> Self {
        Self { slug, status, title }
    }

    /// The stable URI that clients compare.
    pub fn uri(&self) -> String {
        format!("urn:tenantry:problem:{}", self.slug)
    }

    /// What is wrong in general.
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// The word that stands for it in the URI; one of a bounded set, for metrics.
    pub fn slug(&self) -> &'static str {
        self.slug
    }

    /// The HTTP status that goes with it.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

/// A body that is not the JSON that the operation takes.
pub const INVALID_BODY: ProblemKind =
    ProblemKind::new("invalid-body", StatusCode::UNPROCESSABLE_ENTITY, "The body does not have the documented shape");
/// A body that is not JSON at all, or nested without measure.
pub const MALFORMED_JSON: ProblemKind = ProblemKind::new("malformed-json", StatusCode::BAD_REQUEST, "The body is not acceptable JSON");
/// A body of another media type.
pub const UNSUPPORTED_MEDIA_TYPE: ProblemKind =
    ProblemKind::new("unsupported-media-type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body has a media type that is not taken");
/// A body beyond the limit.
pub const BODY_TOO_LARGE: ProblemKind = ProblemKind::new("body-too-large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large");
/// A wrong value in the path or the query.
pub const INVALID_PARAMETER: ProblemKind =
    ProblemKind::new("invalid-parameter", StatusCode::BAD_REQUEST, "A parameter of the request is not valid");
/// A path that no operation has.
pub const UNKNOWN_PATH: ProblemKind = ProblemKind::new("unknown-path", StatusCode::NOT_FOUND, "There is nothing at this path");
/// A method that the path does not have.
pub const METHOD_NOT_ALLOWED: ProblemKind =
    ProblemKind::new("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "The path does not have this method");
/// A change that does not say which version of its object it is made to.
pub const PRECONDITION_REQUIRED: ProblemKind =
    ProblemKind::new("precondition-required", StatusCode::PRECONDITION_REQUIRED, "The change must say which version it is made to");
/// A change of a version that is not the current one.
pub const PRECONDITION_FAILED: ProblemKind =
    ProblemKind::new("precondition-failed", StatusCode::PRECONDITION_FAILED, "The object has changed since it was read");
/// No credential, or a wrong one.
pub const UNAUTHENTICATED: ProblemKind =
    ProblemKind::new("unauthenticated", StatusCode::UNAUTHORIZED, "The operation needs a valid credential");
/// A valid credential that does not permit what is asked.
pub const INSUFFICIENT_SCOPE: ProblemKind =
    ProblemKind::new("insufficient-scope", StatusCode::FORBIDDEN, "The credential does not permit this");
/// An API key that is not there.
pub const UNKNOWN_API_KEY: ProblemKind = ProblemKind::new("unknown-api-key", StatusCode::NOT_FOUND, "There is no such API key");
/// As many API keys as there may be.
pub const TOO_MANY_API_KEYS: ProblemKind =
    ProblemKind::new("too-many-api-keys", StatusCode::CONFLICT, "There are as many API keys as there may be");
/// More requests at once than the process takes.
pub const OVERLOADED: ProblemKind =
    ProblemKind::new("overloaded", StatusCode::SERVICE_UNAVAILABLE, "The service has as much work as it takes");
/// A request that took longer than the limit.
pub const TIME_LIMIT: ProblemKind =
    ProblemKind::new("time-limit", StatusCode::SERVICE_UNAVAILABLE, "The request took longer than its time limit");
/// A data service that cannot be reached now.
pub const UNAVAILABLE: ProblemKind =
    ProblemKind::new("unavailable", StatusCode::SERVICE_UNAVAILABLE, "A part that the service needs is not available");
/// A process that is starting or stopping.
pub const NOT_READY: ProblemKind = ProblemKind::new("not-ready", StatusCode::SERVICE_UNAVAILABLE, "The process does not take requests now");
/// A defect.
pub const INTERNAL: ProblemKind = ProblemKind::new("internal", StatusCode::INTERNAL_SERVER_ERROR, "The service failed on this request");

/// One member of a request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InvalidMember {
    /// JSON Pointer (RFC 6901) into the request's body; empty for the whole body.
    pub pointer: String,
    /// What is wrong with it, and what to write.
    pub detail: String,
}

/// An error as the caller sees it. Never put a secret or another tenant's data into it.
#[derive(Debug, Clone)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    errors: Vec<InvalidMember>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem whose `detail` says what happened here and what to do.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), headers: Vec::new() }
    }

    /// Names a wrong member of the body.
    #[must_use]
    pub fn with_error(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(InvalidMember { pointer: pointer.into(), detail: detail.into() });
        self
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Says after how many seconds to try again.
    #[must_use]
    pub fn with_retry_after(self, seconds: u32) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// The kind, for logs and tests.
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// What happened, for logs and tests.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// As JSON, for an answer that tells of several: each line of a batch has its own.
    #[must_use]
    pub fn document(&self) -> ProblemDocument {
        ProblemDocument {
            kind: self.kind.uri(),
            title: self.kind.title.to_owned(),
            status: self.kind.status.as_u16(),
            detail: self.detail.clone(),
            instance: None,
            errors: self.errors.clone(),
        }
    }

    /// The problem as a page for people, in place of its JSON: with its status and headers, and in the access log as any other.
    #[must_use]
    pub fn on_page(self, mut page: Response) -> Response {
        self.mark(&mut page);
        page.extensions_mut().insert(ProblemOnPage(self));
        page
    }

    /// The response, with the request's id as `instance` where it is known.
    pub(crate) fn render(&self, request_id: Option<&str>) -> Response {
        let instance = request_id.map(|id| format!("urn:tenantry:request:{id}"));
        let document = ProblemDocument { instance, ..self.document() };
        let body = serde_json::to_vec(&document).expect("strings and numbers always serialise");
        let mut response = Response::new(Body::from(body));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        self.mark(&mut response);
        response
    }

    fn mark(&self, response: &mut Response) {
        *response.status_mut() = self.kind.status;
        for (name, value) in &self.headers {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
}

/// A problem whose response is a page, not to be rendered again.
#[derive(Debug, Clone)]
pub(crate) struct ProblemOnPage(pub(crate) Problem);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.render(None);
        response.extensions_mut().insert(self);
        response
    }
}

/// A problem as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// A URI that identifies the kind of problem and never changes: compare this, not the texts.
    #[serde(rename = "type")]
    #[schema(example = "urn:tenantry:problem:invalid-body")]
    kind: String,
    /// The kind in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What happened, and what to do about it.
    detail: String,
    /// The request's id, as in the header `x-request-id` and in the logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// The members of the body that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<InvalidMember>,
}
