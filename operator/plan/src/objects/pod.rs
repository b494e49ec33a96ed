//! What all pods of a slot have in common: no root, no privileges, no service-account token, a root file system that
//! cannot be written; and how configuration and credentials are mounted.

use std::borrow::Cow;

use serde_json::{Value, json};
use tenantry_contract::paths;
use tenantry_crds::Resources;

/// The user and group of every container.
const USER: u32 = 65532;

/// Annotation of pods: which password they were started with. Another one is another pod.
pub(crate) const CREDENTIAL_ANNOTATION: &str = "tenantry.dev/credential";

/// Name of the one port of an `api`, which has its metrics too.
pub(crate) const HTTP_PORT: &str = "http";
/// Name of the one port of a `worker`.
pub(crate) const METRICS_PORT: &str = "metrics";

/// What a process of a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Serves the HTTP API.
    Api,
    /// Works in the background.
    Worker,
    /// Brings the schema up to date.
    Migrate,
    /// The slot's cache.
    Cache,
    /// Tries the slot's network.
    Probe,
}

impl Role {
    /// The value of the role label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::Migrate => "migrate",
            Self::Cache => "cache",
            Self::Probe => "probe",
        }
    }
}

/// A credential of the tenant's own, from a Secret of the slot's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserCredential<'a> {
    /// Its name within the service.
    pub(crate) name: &'a str,
    /// Name of the Secret.
    pub(crate) secret: &'a str,
    /// The entries that become files, where they are there.
    pub(crate) files: Vec<&'a str>,
}

impl UserCredential<'_> {
    /// Name of its volume.
    pub(crate) fn volume(&self) -> String {
        format!("credential-{}", self.name)
    }
}

/// A volume and where it is mounted.
pub(crate) struct Mount {
    name: Cow<'static, str>,
    path: Cow<'static, str>,
    source: Value,
    read_only: bool,
}

impl Mount {
    /// The one writable directory.
    pub(crate) fn scratch() -> Self {
        let source = json!({ "emptyDir": { "sizeLimit": "64Mi" } });
        Self { name: "scratch".into(), path: paths::SCRATCH_DIRECTORY.into(), source, read_only: false }
    }

    /// The service's configuration.
    pub(crate) fn configuration(config_map: &str) -> Self {
        let source = json!({ "configMap": { "name": config_map } });
        Self { name: "configuration".into(), path: paths::CONFIGURATION_DIRECTORY.into(), source, read_only: true }
    }

    /// Some keys of a Secret.
    pub(crate) fn secret(name: &'static str, path: &'static str, secret: &str, keys: &[&str]) -> Self {
        let items: Vec<Value> = keys.iter().map(|key| json!({ "key": key, "path": key })).collect();
        let source = json!({ "secret": { "secretName": secret, "defaultMode": 0o440, "items": items } });
        Self { name: name.into(), path: path.into(), source, read_only: true }
    }

    /// A credential of the tenant's own. Optional: whatever becomes of its Secret, a pod starts, and finds the files there are.
    pub(crate) fn user_credential(credential: &UserCredential<'_>) -> Self {
        let path = paths::user_credential(credential.name);
        let mut mount =
            Self { name: credential.volume().into(), path: path.into(), ..Self::secret("", "", credential.secret, &credential.files) };
        mount.source["secret"]["optional"] = true.into();
        mount
    }

    fn volume(&self) -> Value {
        let mut volume = self.source.clone();
        volume["name"] = self.name.as_ref().into();
        volume
    }

    fn mount(&self) -> Value {
        let mut mount = json!({ "name": self.name, "mountPath": self.path });
        if self.read_only {
            // The API drops a `false`, which would then read as a difference.
            mount["readOnly"] = true.into();
        }
        mount
    }
}

/// A container; `extra` has what only this one has, such as ports and probes.
pub(crate) fn container(name: &str, image: &str, args: &[&str], resources: &Resources, mounts: &[Mount], extra: Value) -> Value {
    let mut container = json!({
        "name": name,
        "image": image,
        "args": args,
        "resources": {
            "requests": { "cpu": format!("{}m", resources.cpu_millis), "memory": format!("{}Mi", resources.memory_mib) },
            "limits": { "memory": format!("{}Mi", resources.memory_mib) },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts.iter().map(Mount::mount).collect::<Vec<_>>(),
    });
    if let (Value::Object(container), Value::Object(extra)) = (&mut container, extra) {
        container.extend(extra);
    }
    container
}

/// The specification of a pod with that container.
pub(crate) fn pod(account: &str, container: Value, mounts: &[Mount], grace_seconds: u32) -> Value {
    json!({
        "serviceAccountName": account,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [container],
        "volumes": mounts.iter().map(Mount::volume).collect::<Vec<_>>(),
    })
}

/// A probe over HTTP.
pub(crate) fn http_probe(path: &str, port: &str, period_seconds: u32, failures: u32) -> Value {
    json!({
        "httpGet": { "path": path, "port": port },
        "periodSeconds": period_seconds,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    })
}
