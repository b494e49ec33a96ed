//! Whether the admission policies are there that confine this operator and shield the slots from everybody else. Stands
//! before observe: without them the operator does not start; when they go, it stops writing until they are back.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::{Api, Client};
use tenantry_plan::reasons;
use thiserror::Error;
use tokio::time::timeout;

use crate::backoff::jittered;
use crate::context::REQUEST_TIMEOUT;
use crate::error::Failure;
use crate::metrics::Metrics;

/// The policies, each with a binding of its own name. The chart's, but for the one that has to come with the definitions.
const POLICIES: [&str; 5] =
    ["tenantry-operator-confined", "tenantry-reports", "tenantry-slot-contents", "tenantry-slot-namespaces", SLOT_PLACE];
/// It is about everybody, and so names no operator.
const SLOT_PLACE: &str = "tenantry-slot-place";

/// A chart's objects come one after the other: so long are those awaited that are not there yet.
const PATIENCE: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_secs(1);

/// What is wrong with a policy, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    #[error(
        "the admission {what} {name} is missing, without which tenants would not be shielded: install the charts tenantry-crds \
         and tenantry again (helm upgrade --install), which bring it"
    )]
    Missing { what: &'static str, name: &'static str },
    #[error(
        "the admission {what} {name} does not do what it is for, since {why}: somebody has changed it; delete it, and install the \
         charts tenantry-crds and tenantry again (helm upgrade --install), which bring it"
    )]
    Changed { what: &'static str, name: &'static str, why: &'static str },
    #[error(
        "the admission policy {name} is of another operator than {user}: Tenantry was installed in another namespace, and a \
         cluster has one; install it there, or delete that one's policies and bindings \
         (kubectl delete validatingadmissionpolicies,validatingadmissionpolicybindings \
         --selector=app.kubernetes.io/name=tenantry) and install the chart tenantry again"
    )]
    OfAnother { name: &'static str, user: String },
    #[error("{0}; the chart tenantry gives the operator the right to read its policies: install it again")]
    Unreadable(String),
}

/// What the operator knows of the policies.
pub struct Confinement {
    policies: Api<ValidatingAdmissionPolicy>,
    bindings: Api<ValidatingAdmissionPolicyBinding>,
    user: String,
    metrics: Arc<Metrics>,
    fault: RwLock<Option<Fault>>,
}

impl Confinement {
    /// Of the operator that runs as that ServiceAccount.
    pub fn new(client: Client, namespace: &str, service_account: &str, metrics: Arc<Metrics>) -> Self {
        Self {
            policies: Api::all(client.clone()),
            bindings: Api::all(client),
            user: format!("system:serviceaccount:{namespace}:{service_account}"),
            metrics,
            fault: RwLock::new(None),
        }
    }

    /// What is wrong, as of the last look; none while the operator may write.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same, as the failure of a step.
    pub fn checked(&self) -> Result<(), Failure> {
        self.fault().map_or(Ok(()), |fault| Err(Failure::new(reasons::NOT_CONFINED, fault.to_string())))
    }

    /// Returns when all policies are there.
    ///
    /// # Errors
    /// When one is missing or wrong, and stays so for a while.
    pub async fn establish(&self) -> Result<(), Fault> {
        let began = Instant::now();
        loop {
            match self.look().await {
                Ok(None) => {
                    self.note(None);
                    return Ok(());
                }
                Ok(Some(fault)) if began.elapsed() >= PATIENCE => return Err(fault),
                Ok(Some(fault)) => {
                    tracing::warn!(%fault, "not started yet");
                    self.note(Some(fault));
                }
                Err(failure) => tracing::warn!(error = failure.message, "the API server does not answer yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Looks again and again, and calls `restored` when what was missing is back. Never ends.
    pub async fn keep(&self, interval: Duration, restored: impl Fn()) {
        loop {
            tokio::time::sleep(jittered(interval)).await;
            // An API server that does not answer takes no writes either: what was known stays.
            let Ok(found) = self.look().await else { continue };
            let before = self.fault();
            match (&before, &found) {
                (None, Some(fault)) => tracing::error!(%fault, "nothing is written any more"),
                (Some(_), None) => tracing::info!("the admission policies are back"),
                _ => {}
            }
            let back = before.is_some() && found.is_none();
            self.note(found);
            if back {
                restored();
            }
        }
    }

    fn note(&self, fault: Option<Fault>) {
        self.metrics.confined(fault.is_none());
        *self.fault.write().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// The first fault that is found.
    async fn look(&self) -> Result<Option<Fault>, Failure> {
        for name in POLICIES {
            let policy = match read("policy", name, self.policies.get_opt(name)).await? {
                Ok(policy) => policy,
                Err(fault) => return Ok(Some(fault)),
            };
            let binding = match read("policy binding", name, self.bindings.get_opt(name)).await? {
                Ok(binding) => binding,
                Err(fault) => return Ok(Some(fault)),
            };
            let user = (name != SLOT_PLACE).then_some(self.user.as_str());
            if let Err(fault) = judge_policy(name, &policy, user).and_then(|()| judge_binding(name, &binding)) {
                return Ok(Some(fault));
            }
        }
        Ok(None)
    }
}

async fn read<T>(
    what: &'static str,
    name: &'static str,
    request: impl Future<Output = Result<Option<T>, kube::Error>>,
) -> Result<Result<T, Fault>, Failure> {
    let doing = format!("reading the admission {what} {name}");
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(Ok(Some(found))) => Ok(Ok(found)),
        Ok(Ok(None)) => Ok(Err(Fault::Missing { what, name })),
        Ok(Err(error)) => match Failure::kubernetes(&doing, &error) {
            Failure { reason: reasons::FORBIDDEN, message } => Ok(Err(Fault::Unreadable(message))),
            failure => Err(failure),
        },
        Err(_) => Err(Failure::no_answer(&doing, REQUEST_TIMEOUT)),
    }
}

fn judge_policy(name: &'static str, policy: &ValidatingAdmissionPolicy, user: Option<&str>) -> Result<(), Fault> {
    let changed = |why| Err(Fault::Changed { what: "policy", name, why });
    let Some(spec) = &policy.spec else { return changed("it is empty") };
    if policy.metadata.deletion_timestamp.is_some() {
        return changed("it is being deleted");
    }
    if spec.failure_policy.as_deref().is_some_and(|on_failure| on_failure != "Fail") {
        return changed("its failurePolicy is not Fail");
    }
    if spec.validations.as_ref().is_none_or(Vec::is_empty) {
        return changed("it has no validations");
    }
    let conditions = spec.match_conditions.as_deref().unwrap_or_default();
    match user {
        Some(user) if !conditions.iter().any(|condition| condition.expression.contains(&format!("'{user}'"))) => {
            Err(Fault::OfAnother { name, user: user.to_owned() })
        }
        _ => Ok(()),
    }
}

fn judge_binding(name: &'static str, binding: &ValidatingAdmissionPolicyBinding) -> Result<(), Fault> {
    let changed = |why| Err(Fault::Changed { what: "policy binding", name, why });
    let spec = &binding.spec;
    if binding.metadata.deletion_timestamp.is_some() {
        return changed("it is being deleted");
    }
    if spec.policy_name != name {
        return changed("it binds another policy");
    }
    if !spec.validation_actions.iter().any(|action| action == "Deny") {
        return changed("its validationActions do not contain Deny");
    }
    if spec.match_resources.is_some() || spec.param_ref.is_some() {
        return changed("it has matchResources or a paramRef, by which it holds for a part only");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const USER: &str = "system:serviceaccount:tenantry-system:tenantry-operator";

    fn policy(change: impl FnOnce(&mut Value)) -> Result<(), Fault> {
        let expression = format!("request.userInfo.username == '{USER}'");
        let mut policy = json!({ "metadata": {}, "spec": {
            "failurePolicy": "Fail",
            "matchConditions": [{ "name": "the-operator", "expression": expression }],
            "validations": [{ "expression": "false" }],
        } });
        change(&mut policy["spec"]);
        judge_policy("tenantry-reports", &serde_json::from_value(policy).unwrap(), Some(USER))
    }

    fn binding(change: impl FnOnce(&mut Value)) -> Result<(), Fault> {
        let mut binding = json!({ "metadata": {}, "spec": { "policyName": "tenantry-reports", "validationActions": ["Deny"] } });
        change(&mut binding["spec"]);
        judge_binding("tenantry-reports", &serde_json::from_value(binding).unwrap())
    }

    #[test]
    fn the_charts_policy_and_binding_are_accepted() {
        assert_eq!(policy(|_| {}), Ok(()));
        assert_eq!(binding(|_| {}), Ok(()));
        assert_eq!(binding(|spec| spec["validationActions"] = json!(["Deny", "Audit"])), Ok(()));
    }

    #[test]
    fn a_policy_that_was_weakened_or_is_of_another_operator_is_a_fault() {
        assert!(matches!(policy(|spec| spec["failurePolicy"] = "Ignore".into()), Err(Fault::Changed { .. })));
        assert!(matches!(policy(|spec| spec["validations"] = json!([])), Err(Fault::Changed { .. })));
        let other = policy(|spec| spec["matchConditions"][0]["expression"] = format!("'{USER}-2'").into());
        assert!(matches!(other, Err(Fault::OfAnother { .. })), "{other:?}");
    }

    #[test]
    fn a_binding_that_does_not_deny_or_only_somewhere_is_a_fault() {
        for change in [
            json!({ "validationActions": ["Warn", "Audit"] }),
            json!({ "policyName": "another" }),
            json!({ "matchResources": { "namespaceSelector": { "matchLabels": { "a": "b" } } } }),
            json!({ "paramRef": { "name": "a" } }),
        ] {
            let judged = binding(|spec| spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone()));
            assert!(matches!(judged, Err(Fault::Changed { .. })), "{change}");
        }
    }
}
