//! The operations of a service: routing, documentation and who may call, from one source.
//!
//! There are three ways to add an operation, and each says who may call it. What is in neither table does not exist for a
//! caller ([`super::admission`]), so that forgetting cannot open a route.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use http::Method;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::auth::{self, KEYS_MANAGE, Scope};
use crate::problem::{MEDIA_TYPE, ProblemDocument};

const SECURITY_SCHEME: &str = "bearer";

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody.
    Open,
    /// Whoever the process's authenticator accepts, and has one of these scopes where there are any.
    Authenticated(&'static [Scope]),
}

/// Per path template and method, who may call.
pub(super) type AccessTable = BTreeMap<String, BTreeMap<String, Access>>;

/// A service's operations, with handlers of state `S`.
#[must_use]
pub struct Operations<S> {
    router: OpenApiRouter<S>,
    access: AccessTable,
    issues_credentials: bool,
}

impl<S: Clone + Send + Sync + 'static> Operations<S> {
    /// No operations, of an API with this title and description.
    pub fn new(title: &str, description: &str, version: &str) -> Self {
        let info = InfoBuilder::new().title(title).version(version).description(Some(description)).build();
        let mut document = OpenApiBuilder::new().info(info).build();
        let components = document.components.get_or_insert_default();
        let mut schemas = vec![(ProblemDocument::name().into_owned(), ProblemDocument::schema())];
        ProblemDocument::schemas(&mut schemas);
        components.schemas.extend(schemas);
        let problem = ResponseBuilder::new()
            .description("An error, as problem details (RFC 9457).")
            .content(MEDIA_TYPE, ContentBuilder::new().schema(Some(Ref::from_schema_name(ProblemDocument::name()))).build())
            .build();
        components.responses.insert("Problem".to_owned(), problem.into());
        Self { router: OpenApiRouter::with_openapi(document), access: AccessTable::new(), issues_credentials: false }
    }

    /// Adds operations that need a credential with any one of these scopes. Where one of them is not enough for everything, the
    /// handler extracts the [`Principal`](auth::Principal) and asks for more.
    pub fn scoped(self, scopes: &'static [Scope], routes: UtoipaMethodRouter<S>) -> Self {
        assert!(!scopes.is_empty(), "an operation without scopes is added by `authenticated`");
        self.add(routes, Access::Authenticated(scopes))
    }

    /// Adds operations that need a credential, whatever it permits.
    pub fn authenticated(self, routes: UtoipaMethodRouter<S>) -> Self {
        self.add(routes, Access::Authenticated(&[]))
    }

    /// Adds operations that anybody may call.
    pub fn open(self, routes: UtoipaMethodRouter<S>) -> Self {
        self.add(routes, Access::Open)
    }

    /// Adds the operations by which holders of [`KEYS_MANAGE`] make API keys for machines, and tokens for trials. The service needs a
    /// database.
    pub fn issuing_credentials(mut self) -> Self {
        self.issues_credentials = true;
        auth::routes().into_iter().fold(self, |operations, routes| operations.scoped(&[KEYS_MANAGE], routes))
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
        self.access.values().flat_map(BTreeMap::values).any(|access| *access != Access::Open)
    }

    /// Whether the operations that make credentials are among them.
    pub(crate) fn issue_credentials(&self) -> bool {
        self.issues_credentials
    }

    /// The names of all scopes that an operation asks for.
    pub fn scopes(&self) -> BTreeSet<&'static str> {
        self.declared_scopes().into_keys().collect()
    }

    /// All scopes that an operation asks for: name and what it permits.
    fn declared_scopes(&self) -> BTreeMap<&'static str, &'static str> {
        let scopes = self.access.values().flat_map(BTreeMap::values).flat_map(|access| -> &'static [Scope] {
            match access {
                Access::Open => &[],
                Access::Authenticated(scopes) => scopes,
            }
        });
        scopes.map(|scope| (scope.name(), scope.description())).collect()
    }

    /// The OpenAPI document.
    pub fn document(self) -> OpenApi {
        self.into_parts().1
    }

    pub(super) fn into_parts(self) -> (Router<S>, OpenApi, AccessTable) {
        let scheme = security_scheme(&self.declared_scopes());
        let (router, mut document) = self.router.split_for_parts();
        document.components.get_or_insert_default().add_security_scheme(SECURITY_SCHEME, scheme);
        (router, document, self.access)
    }
}

fn security_scheme(scopes: &BTreeMap<&str, &str>) -> SecurityScheme {
    let mut description =
        "The slot's token, which has every scope; a token of one of the issuers that the resource group names; an API key; or a \
         token for trials."
            .to_owned();
    if !scopes.is_empty() {
        description.push_str(" Scopes:\n\n");
        scopes.iter().for_each(|(name, permits)| description.push_str(&format!("- `{name}`: {permits}\n")));
    }
    SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build())
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
    let with = |scopes: &[&str]| SecurityRequirement::new(SECURITY_SCHEME, scopes.iter().copied());
    operation.security = Some(match access {
        Access::Open => vec![SecurityRequirement::default()],
        Access::Authenticated([]) => vec![with(&[])],
        // requirements that stand side by side are alternatives
        Access::Authenticated(scopes) => scopes.iter().map(|scope| with(&[scope.name()])).collect(),
    });
    let problem = || Ref::from_response_name("Problem").into();
    let responses = &mut operation.responses.responses;
    if access != Access::Open {
        responses.entry("401".to_owned()).or_insert_with(problem);
    }
    if matches!(access, Access::Authenticated([_, ..])) {
        responses.entry("403".to_owned()).or_insert_with(problem);
    }
    responses.entry("default".to_owned()).or_insert_with(problem);
}
