//! What a slot's API accepts: each credential goes to the one judge that its form says.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::HeaderMap;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::api_key::ApiKey;
use super::{ApiKeys, Authenticator, Principal, Refusal, StaticToken, TrialTokens, TrustedIssuers, bearer, trial};
use crate::telemetry::Metrics;

/// Accepts the slot's static token, tokens of trusted issuers and for trials, and API keys.
#[derive(Debug)]
pub struct SlotAuthenticator {
    static_token: Arc<StaticToken>,
    issuers: TrustedIssuers,
    trial_tokens: Arc<TrialTokens>,
    /// None for a service without a database, or that makes none.
    api_keys: Option<ApiKeys>,
    refused: Family<RefusalLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    reason: &'static str,
}

impl SlotAuthenticator {
    /// With these judges. Once a process, since it registers metrics.
    pub fn new(
        static_token: Arc<StaticToken>,
        issuers: TrustedIssuers,
        trial_tokens: Arc<TrialTokens>,
        api_keys: Option<ApiKeys>,
        metrics: &Metrics,
    ) -> Self {
        let refused = Family::default();
        metrics.register(|registry| registry.register("credentials_refused", "Requests refused for their credential", refused.clone()));
        Self { static_token, issuers, trial_tokens, api_keys, refused }
    }

    async fn judge(&self, headers: &HeaderMap) -> Result<Principal, Refusal> {
        let token = bearer(headers)?;
        if self.static_token.matches(token) {
            return Ok(Principal::SlotToken);
        }
        if ApiKey::is_one(token) {
            let keys = self.api_keys.as_ref().ok_or(Refusal::ApiKey)?;
            return keys.authenticate(token).await;
        }
        if !token.contains('.') {
            return Err(Refusal::Invalid);
        }
        let principal = match TrustedIssuers::claimed_issuer(token)? {
            issuer if issuer == trial::ISSUER => self.trial_tokens.authenticate(token),
            _ => self.issuers.authenticate(token),
        };
        Ok(principal?)
    }
}

impl Authenticator for SlotAuthenticator {
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<Principal, Refusal>> {
        Box::pin(async move {
            let outcome = self.judge(headers).await;
            if let Err(refusal) = outcome {
                self.refused.get_or_create(&RefusalLabels { reason: refusal.label() }).inc();
            }
            outcome
        })
    }
}
