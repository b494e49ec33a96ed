//! The account that the operator's chart makes for it: an operator that a test starts by this has the rights that it has
//! in a real cluster, and no more.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ControlPlane, checkout};

/// The namespace of the operator, its Lease and its Secrets.
pub const SYSTEM_NAMESPACE: &str = "tenantry-system";

/// The chart renders only with an image; no pod ever runs it here.
const NO_IMAGE: &str = "image=none@sha256:0000000000000000000000000000000000000000000000000000000000000000";

impl ControlPlane {
    /// Makes the namespace `tenantry-system`, and in it the ServiceAccount of the operator's chart with its roles, but no
    /// Deployment; gives the path of a kubeconfig for that account, good for eight hours. May be called again.
    ///
    /// # Errors
    /// When the chart does not render, or the API server refuses a part of it.
    pub async fn operator_kubeconfig(&self) -> Result<PathBuf> {
        let apply = ["apply", "--server-side", "--filename=-"];
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": SYSTEM_NAMESPACE } });
        self.kubectl_with_input(&apply, &namespace.to_string()).await?;

        let rendered = self.helm_template("tenantry", &checkout().join("charts/tenantry"), &[NO_IMAGE]).await?;
        let mut account = Vec::new();
        for document in serde_yaml_ng::Deserializer::from_str(&rendered) {
            let object = Value::deserialize(document)?;
            let kind = object["kind"].as_str().unwrap_or_default();
            if matches!(kind, "ServiceAccount" | "ClusterRole" | "ClusterRoleBinding" | "Role" | "RoleBinding") {
                account.push(object);
            }
        }
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": account });
        self.kubectl_with_input(&apply, &list.to_string()).await?;

        let namespace = format!("--namespace={SYSTEM_NAMESPACE}");
        let token = self.kubectl(&["create", "token", "tenantry-operator", &namespace, "--duration=8h"]).await?;
        let mut kubeconfig: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(self.kubeconfig())?)?;
        let users = kubeconfig["users"].as_array_mut().context("the kubeconfig has no users")?;
        for user in users {
            user["user"] = json!({ "token": token.trim() });
        }
        let path = self.directory.join("operator.kubeconfig");
        std::fs::write(&path, kubeconfig.to_string())?;
        Ok(path)
    }
}
