//! A slot's Secrets. The operator has no right to list or watch Secrets across namespaces: it asks for each by name, and
//! remembers the answers for a while, since every event of the slot leads here.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use kube::ResourceExt;
use kube::core::DynamicObject;
use tenantry_crds::names::{MANAGED_BY, MANAGED_BY_LABEL};

use crate::context::Context;
use crate::error::Failure;
use crate::kinds::SECRET;

const REQUESTS: usize = 4;

/// What was answered: when, and the Secret unless there is none.
type Answers = BTreeMap<String, (Instant, Option<DynamicObject>)>;

/// The answers of all slots, by namespace.
pub struct Secrets {
    remembered_for: Duration,
    answers: Mutex<HashMap<String, Answers>>,
}

impl Secrets {
    pub fn new(remembered_for: Duration) -> Self {
        Self { remembered_for, answers: Mutex::default() }
    }

    /// The Secrets of those names that exist in a namespace and are the operator's own.
    ///
    /// # Errors
    /// When one cannot be asked for.
    pub async fn named(&self, namespace: &str, names: &[String], context: &Context) -> Result<Vec<DynamicObject>, Failure> {
        let unknown: Vec<String> = names.iter().filter(|name| !self.is_remembered(namespace, name)).cloned().collect();
        stream::iter(unknown)
            .map(|name| async move {
                let api = SECRET.api(&context.client, Some(namespace));
                let doing = format!("reading Secret {namespace}/{name}");
                let answer = context.in_time(&doing, api.get_opt(&name)).await?;
                self.remember(namespace, &name, answer);
                Ok::<_, Failure>(())
            })
            .buffer_unordered(REQUESTS)
            .try_collect::<Vec<()>>()
            .await?;
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = answers.get(namespace);
        Ok(names
            .iter()
            .filter_map(|name| known?.get(name)?.1.clone())
            .filter(|secret| secret.labels().get(MANAGED_BY_LABEL).is_some_and(|label| label == MANAGED_BY))
            .collect())
    }

    /// Takes in a Secret as it was just written.
    pub fn put_written(&self, secret: DynamicObject) {
        if let Some(namespace) = secret.namespace() {
            let name = secret.name_any();
            self.remember(&namespace, &name, Some(secret));
        }
    }

    /// Forgets a namespace's answers.
    pub fn forget(&self, namespace: &str) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    }

    fn is_remembered(&self, namespace: &str, name: &str) -> bool {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answers.get(namespace).and_then(|answers| answers.get(name));
        answer.is_some_and(|(since, _)| since.elapsed() < self.remembered_for)
    }

    fn remember(&self, namespace: &str, name: &str, secret: Option<DynamicObject>) {
        let secret = secret.map(|mut secret| {
            secret.types = Some(SECRET.types());
            secret.metadata.managed_fields = None;
            secret
        });
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.entry(namespace.to_owned()).or_default().insert(name.to_owned(), (Instant::now(), secret));
    }
}
