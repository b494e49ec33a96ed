//! Decides whether a request reaches a handler: it must be for an operation that the service declares, and carry a
//! credential with one of the operation's scopes, unless that operation is declared open. Everything else ends here, before a
//! handler or a body.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use http::{HeaderValue, Method, header};

use super::browser;
use super::operations::{Access, AccessTable};
use crate::auth::{Authenticator, Judge};
use crate::problem::{METHOD_NOT_ALLOWED, Problem, UNKNOWN_PATH};

/// The operations that exist, and the judge of those that need a credential.
pub(super) struct Admission {
    access: AccessTable,
    authenticator: Arc<dyn Authenticator>,
}

impl Admission {
    pub(super) fn new(access: AccessTable, authenticator: Arc<dyn Authenticator>) -> Self {
        Self { access, authenticator }
    }

    /// Lets a request in, with who sends it, or says why not.
    pub(super) async fn admit(&self, request: &mut Request) -> Result<(), Problem> {
        match self.access(request.extensions().get(), request.method())? {
            Access::Open => {}
            Access::Authenticated(scopes) => {
                browser::take_password_for_token(request);
                let judged = self.authenticator.authenticate(request.headers()).await;
                let principal = judged.map_err(|refusal| browser::with_challenge(refusal.into(), request))?;
                if !scopes.is_empty() {
                    principal.require_any(scopes)?;
                }
                request.extensions_mut().insert(principal);
                request.extensions_mut().insert(Judge(Arc::clone(&self.authenticator)));
            }
        }
        Ok(())
    }

    fn access(&self, path: Option<&MatchedPath>, method: &Method) -> Result<Access, Problem> {
        let methods = path.and_then(|path| self.access.get(path.as_str())).ok_or_else(no_such_path)?;
        // a handler of GET answers HEAD too
        let method_of_handler = if method == Method::HEAD { Method::GET.as_str() } else { method.as_str() };
        methods.get(method.as_str()).or_else(|| methods.get(method_of_handler)).copied().ok_or_else(|| {
            let allowed = methods.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let problem = Problem::new(METHOD_NOT_ALLOWED, format!("this path takes {allowed}"));
            match HeaderValue::from_str(&allowed) {
                Ok(allowed) => problem.with_header(header::ALLOW, allowed),
                Err(_) => problem,
            }
        })
    }
}

/// Answers what no route matches.
pub(super) async fn unknown_path() -> Problem {
    no_such_path()
}

fn no_such_path() -> Problem {
    Problem::new(UNKNOWN_PATH, "look at /openapi.json for what there is")
}
