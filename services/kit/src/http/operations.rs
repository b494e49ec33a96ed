//! The operations of a service: routing, documentation and who may call, from one source.
//!
//! There are two ways to add an operation, and each says who may call it. What is in neither table does not exist for a
//! caller ([`super::admission`]), so that forgetting cannot open a route.

use std::collections::BTreeMap;

use axum::Router;
use http::Method;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::problem::{MEDIA_TYPE, ProblemDocument};

const SECURITY_SCHEME: &str = "bearer";

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody.
    Open,
    /// Whoever the process's authenticator accepts.
    Authenticated,
}

/// Per path template and method, who may call.
pub(super) type AccessTable = BTreeMap<String, BTreeMap<String, Access>>;

/// A service's operations, with handlers of state `S`.
#[must_use]
pub struct Operations<S> {
    router: OpenApiRouter<S>,
    access: AccessTable,
}

impl<S: Clone + Send + Sync + 'static> Operations<S> {
    /// No operations, of an API with this title and description.
    pub fn new(title: &str, description: &str, version: &str) -> Self {
        let info = InfoBuilder::new().title(title).version(version).description(Some(description)).build();
        let mut document = OpenApiBuilder::new().info(info).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(SECURITY_SCHEME, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        let mut schemas = vec![(ProblemDocument::name().into_owned(), ProblemDocument::schema())];
        ProblemDocument::schemas(&mut schemas);
        components.schemas.extend(schemas);
        let problem = ResponseBuilder::new()
            .description("An error, as problem details (RFC 9457).")
            .content(MEDIA_TYPE, ContentBuilder::new().schema(Some(Ref::from_schema_name(ProblemDocument::name()))).build())
            .build();
        components.responses.insert("Problem".to_owned(), problem.into());
        Self { router: OpenApiRouter::with_openapi(document), access: AccessTable::new() }
    }

    /// Adds operations that need a credential.
    pub fn authenticated(self, routes: UtoipaMethodRouter<S>) -> Self {
        self.add(routes, Access::Authenticated)
    }

    /// Adds operations that anybody may call.
    pub fn open(self, routes: UtoipaMethodRouter<S>) -> Self {
        self.add(routes, Access::Open)
    }

    fn add(mut self, (schemas, mut paths, methods): UtoipaMethodRouter<S>, access: Access) -> Self {
        for (path, item) in &mut paths.paths {
            for (method, operation) in operations_of(item) {
                document_access(operation, access);
                let before = self.access.entry(path.clone()).or_default().insert(method.to_string(), access);
                assert!(before.is_none(), "the operation {method} {path} is added twice");
            }
        }
        self.router = self.router.routes((schemas, paths, methods));
        self
    }

    /// Whether any operation needs a credential.
    pub(crate) fn need_credentials(&self) -> bool {
        self.access.values().flat_map(BTreeMap::values).any(|access| *access == Access::Authenticated)
    }

    /// The OpenAPI document.
    pub fn document(self) -> OpenApi {
        self.router.into_openapi()
    }

    pub(super) fn into_parts(self) -> (Router<S>, OpenApi, AccessTable) {
        let (router, document) = self.router.split_for_parts();
        (router, document, self.access)
    }
}

fn operations_of(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    [
        (Method::GET, item.get.as_mut()),
        (Method::PUT, item.put.as_mut()),
        (Method::POST, item.post.as_mut()),
        (Method::DELETE, item.delete.as_mut()),
        (Method::OPTIONS, item.options.as_mut()),
        (Method::HEAD, item.head.as_mut()),
        (Method::PATCH, item.patch.as_mut()),
        (Method::TRACE, item.trace.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.map(|operation| (method, operation)))
}

/// Writes into the documentation what admission enforces, and that every error is a problem.
fn document_access(operation: &mut Operation, access: Access) {
    let requirement = match access {
        Access::Open => SecurityRequirement::default(),
        Access::Authenticated => SecurityRequirement::new(SECURITY_SCHEME, Vec::<String>::new()),
    };
    operation.security = Some(vec![requirement]);
    let problem = || Ref::from_response_name("Problem").into();
    let responses = &mut operation.responses.responses;
    if access == Access::Authenticated {
        responses.entry("401".to_owned()).or_insert_with(problem);
    }
    responses.entry("default".to_owned()).or_insert_with(problem);
}
