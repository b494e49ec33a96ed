//! What `up` says in the end: how to reach what runs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::kubernetes::Access;
use crate::up::Running;

/// The Secret of a slot in which a service's bearer token is.
fn token_secret(service: &str) -> String {
    format!("{service}-api")
}

/// The key of the token in its Secret.
const TOKEN_KEY: &str = "token";

/// What runs, for machines: the output of `up --output json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    release: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubeconfig: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
    endpoints: Vec<Endpoint<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    namespace: &'a str,
    service: &'a str,
    url: String,
    token_secret: String,
    token_key: &'static str,
}

fn summary(running: &Running) -> Summary<'_> {
    let (kubeconfig, context) = match &running.access {
        Access::Kubeconfig(path) => (Some(path.display().to_string()), None),
        Access::Context(name) => (None, Some(name.as_str())),
    };
    Summary {
        release: &running.release,
        kubeconfig,
        context,
        endpoints: running
            .forwards
            .iter()
            .map(|forward| Endpoint {
                namespace: &forward.namespace,
                service: &forward.service,
                url: forward.url(),
                token_secret: token_secret(&forward.service),
                token_key: TOKEN_KEY,
            })
            .collect(),
    }
}

/// As JSON.
pub fn json(running: &Running) -> String {
    serde_json::to_string_pretty(&summary(running)).unwrap_or_default()
}

/// For people.
pub fn text(running: &Running) -> String {
    let summary = summary(running);
    let mut text = format!("\nTenantry runs, with release {}.\n", summary.release);
    let kubectl = &running.kubectl;
    if let Some(path) = &summary.kubeconfig {
        let _ = writeln!(text, "\n  kubeconfig  {path}");
    }
    text.push('\n');
    for endpoint in &summary.endpoints {
        let _ = writeln!(text, "  {:<32} {}", format!("{}/{}", endpoint.namespace, endpoint.service), endpoint.url);
    }
    let Some(first) = summary.endpoints.first() else {
        return text;
    };
    let _ = writeln!(text, "\nEach slot has its own token, in its Secret {}, key {TOKEN_KEY}. Try next:\n", first.token_secret);
    let _ = writeln!(
        text,
        "  TOKEN=$({kubectl} --namespace {} get secret {} --output jsonpath='{{.data.{TOKEN_KEY}}}' | base64 --decode)",
        first.namespace, first.token_secret
    );
    let _ = writeln!(text, "  curl --header \"Authorization: Bearer $TOKEN\" {}/campaigns/active", first.url);
    let _ = writeln!(text, "  {kubectl} get resourcegroups,slots --all-namespaces");
    for manifest in &running.next {
        let _ = writeln!(text, "  {kubectl} apply --filename {}", manifest.display());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::Value;

    use crate::forwards::Forward;

    use super::*;

    fn running() -> Running {
        Running {
            access: Access::Kubeconfig(PathBuf::from("/state/kubeconfig")),
            kubectl: "cargo xtask kubectl".to_owned(),
            release: "v0.1.0-01234567".to_owned(),
            forwards: vec![Forward {
                listen: "127.0.0.1:18080".parse().unwrap(),
                namespace: "pcasia-dev".to_owned(),
                service: "campaigns".to_owned(),
                port: 8080,
            }],
            next: vec![PathBuf::from("/state/next/second-group.yaml")],
            greeter: Value::Null,
        }
    }

    #[test]
    fn people_get_commands_with_real_values() {
        let text = text(&running());
        assert!(text.contains("http://127.0.0.1:18080/campaigns/active"), "{text}");
        assert!(text.contains("--namespace pcasia-dev get secret campaigns-api"), "{text}");
    }

    #[test]
    fn machines_get_where_the_token_is_and_not_the_token() {
        let summary: Value = serde_json::from_str(&json(&running())).unwrap();
        assert_eq!(summary["endpoints"][0]["tokenSecret"], "campaigns-api");
        assert_eq!(summary["kubeconfig"], "/state/kubeconfig");
    }
}
