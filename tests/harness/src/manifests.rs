//! The manifests that tests and benches of the operator apply.

use serde_json::{Value, json};

/// An image that nothing ever pulls.
pub const IMAGE: &str = "registry.example/tenantry/ledger@sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// A class with the sizes `small` and `large`, on that PostgreSQL server.
pub fn class(name: &str, postgres_port: u16, admin_secret: &str) -> Value {
    let size = |replicas: u32| {
        json!({
            "api": { "replicas": replicas, "resources": { "cpuMillis": 20, "memoryMib": 48 } },
            "worker": { "replicas": 1, "resources": { "cpuMillis": 20, "memoryMib": 48 } },
            "migrate": { "cpuMillis": 20, "memoryMib": 64 },
            "cache": { "cpuMillis": 10, "memoryMib": 32 },
            "database": { "connectionsPerService": 10 },
        })
    };
    json!({
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "ResourceGroupClass",
        "metadata": { "name": name },
        "spec": {
            "sizes": { "small": size(1), "large": size(2) },
            "postgres": { "servers": [server("main", postgres_port, admin_secret, 5000)] },
            "cache": { "image": IMAGE.replace("ledger", "valkey") },
        },
    })
}

/// A PostgreSQL server of a class. A slot of the size `small` that runs `ledger` needs 14 of its connections.
pub fn server(name: &str, port: u16, admin_secret: &str, connections: u32) -> Value {
    json!({
        "name": name,
        "host": "127.0.0.1",
        "port": port,
        "tls": "disable",
        "adminSecretRef": { "name": admin_secret },
        "network": { "cidrs": ["127.0.0.1/32"] },
        "connectionLimit": connections,
    })
}

/// A release with one service, `ledger`, that has all a service can have.
pub fn release(name: &str, schema_version: u32) -> Value {
    json!({
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "Release",
        "metadata": { "name": name },
        "spec": { "services": { "ledger": {
            "image": IMAGE,
            "roles": { "api": { "port": 8080 }, "worker": { "metricsPort": 8081 } },
            "needs": { "database": {}, "cache": {} },
            "schema": { "version": schema_version, "runsOnFrom": 1 },
            "settings": {
                "type": "object",
                "properties": { "baseCurrency": { "type": "string" }, "limits": { "type": "object", "properties": { "daily": { "type": "integer" } } } },
                "additionalProperties": false,
            },
        } } },
    })
}

/// A slot pinned to a release.
pub fn pinned(name: &str, release: &str) -> Value {
    json!({ "name": name, "size": "small", "release": release })
}

/// A group that runs `ledger` in those slots.
pub fn group(name: &str, class: &str, slots: Vec<Value>) -> Value {
    json!({
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "ResourceGroup",
        "metadata": { "name": name },
        "spec": {
            "classRef": { "name": class },
            "owners": [{ "kind": "Group", "name": format!("{name}-developers") }],
            "services": { "ledger": { "settings": { "baseCurrency": "EUR" } } },
            "slots": slots,
        },
    })
}
