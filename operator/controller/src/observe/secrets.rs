//! A slot's Secrets. The operator has no right to list or watch Secrets across namespaces: it asks for each by name, and
//! remembers the answers for a while, since every event of the slot leads here.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use kube::ResourceExt;
use kube::api::GetParams;
use kube::core::DynamicObject;
use serde_json::Value;
use tenantry_crds::names::{MANAGED_BY, MANAGED_BY_LABEL};
use tenantry_plan::UserSecret;

use crate::caches::{Kept, Packed, Packer, intruders};
use crate::context::Context;
use crate::error::Failure;
use crate::kinds::SECRET;

const REQUESTS: usize = 4;

/// What is known of a namespace's Secrets.
#[derive(Default)]
struct Answers {
    /// By name: when it was answered, and the Secret unless there is none.
    by_name: BTreeMap<String, (Instant, Option<Packed>)>,
    /// When this process made the namespace, in which nobody else makes Secrets of the operator: there are none but those
    /// that it wrote.
    made: Option<Instant>,
}

/// The answers of all slots, by namespace.
pub struct Secrets {
    remembered_for: Duration,
    answers: Mutex<HashMap<String, Answers>>,
    packer: Packer,
}

impl Secrets {
    pub fn new(remembered_for: Duration) -> Self {
        Self { remembered_for, answers: Mutex::default(), packer: Packer::default() }
    }

    /// The Secrets of those names that exist in a namespace and are the operator's own.
    ///
    /// # Errors
    /// When one cannot be asked for.
    pub async fn named(&self, namespace: &str, names: &[String], context: &Context) -> Result<Vec<DynamicObject>, Failure> {
        let known = self.known(namespace, names, context).await?;
        Ok(known.into_iter().filter(is_ours).collect())
    }

    /// What is known of the Secrets of those names that exist in a namespace and are to be given to services.
    ///
    /// # Errors
    /// When one cannot be asked for.
    pub async fn of_users(&self, namespace: &str, names: &[String], context: &Context) -> Result<BTreeMap<String, UserSecret>, Failure> {
        let known = self.known(namespace, names, context).await?;
        Ok(known.iter().map(|secret| (secret.name_any(), UserSecret::of(secret))).collect())
    }

    /// The Secrets of those names that exist, those of others without their values.
    async fn known(&self, namespace: &str, names: &[String], context: &Context) -> Result<Vec<DynamicObject>, Failure> {
        let unknown: Vec<String> = names.iter().filter(|name| !self.is_remembered(namespace, name)).cloned().collect();
        stream::iter(unknown)
            .map(|name| async move {
                let api = SECRET.api(&context.client, Some(namespace));
                let doing = format!("reading Secret {namespace}/{name}");
                let answer = context.in_time(&doing, found(api.get_with(&name, &from_its_cache()))).await?;
                self.remember(namespace, &name, answer);
                Ok::<_, Failure>(())
            })
            .buffer_unordered(REQUESTS)
            .try_collect::<Vec<()>>()
            .await?;
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = answers.get(namespace);
        Ok(names.iter().filter_map(|name| known?.by_name.get(name)?.1.as_ref().map(Packed::unpack)).collect())
    }

    /// Takes in a Secret as it was just written.
    pub fn put_written(&self, secret: DynamicObject) {
        if let Some(namespace) = secret.namespace() {
            let name = secret.name_any();
            self.remember(&namespace, &name, Some(secret));
        }
    }

    /// A namespace was just made: nothing is in it.
    pub fn put_new_namespace(&self, namespace: &str) {
        let answers = Answers { made: Some(Instant::now()), ..Answers::default() };
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(namespace.to_owned(), answers);
    }

    /// Forgets a namespace's answers.
    pub fn forget(&self, namespace: &str) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    }

    fn is_remembered(&self, namespace: &str, name: &str) -> bool {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(answers) = answers.get(namespace) else { return false };
        let since = answers.by_name.get(name).map(|(since, _)| *since).or(answers.made);
        since.is_some_and(|since| since.elapsed() < self.remembered_for)
    }

    fn remember(&self, namespace: &str, name: &str, secret: Option<DynamicObject>) {
        let secret = secret.map(|mut secret| {
            secret.types = Some(SECRET.types());
            secret.metadata.managed_fields = intruders(&secret.metadata);
            if !is_ours(&secret) {
                forget_values(&mut secret);
            }
            self.packer.pack(secret)
        });
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = &mut answers.entry(namespace.to_owned()).or_default().by_name;
        let known = answers.remove(name).and_then(|(_, known)| known);
        let latest = match (known, secret) {
            // The API server's cache may not have what was just written.
            (Some(known), Some(read)) if known.uid() == read.uid() && known.version() > read.version() => Some(known),
            (_, read) => read,
        };
        answers.insert(name.to_owned(), (Instant::now(), latest));
    }
}

fn is_ours(secret: &DynamicObject) -> bool {
    secret.labels().get(MANAGED_BY_LABEL).is_some_and(|label| label == MANAGED_BY)
}

/// Leaves the names of the entries: what somebody keeps there is nothing that the operator has to know.
fn forget_values(secret: &mut DynamicObject) {
    for value in secret.data["data"].as_object_mut().into_iter().flat_map(|data| data.values_mut()) {
        *value = Value::String(String::new());
    }
    secret.metadata.annotations = None;
}

/// From the API server's cache: that costs it a fraction, at thousands of Secrets a minute. What it answers may be older by
/// some milliseconds.
fn from_its_cache() -> GetParams {
    GetParams::any()
}

async fn found(request: impl Future<Output = Result<DynamicObject, kube::Error>>) -> Result<Option<DynamicObject>, kube::Error> {
    match request.await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
