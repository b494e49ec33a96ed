//! A class, two releases and a group, as a platform team and a tenant write them.

use serde_json::{Value, json};
use tenantry_crds::{Release, ResourceGroup, ResourceGroupClass};

pub fn class() -> ResourceGroupClass {
    let size = |replicas: u32, memory: u32, connections: u32| {
        let role = json!({ "replicas": replicas, "resources": { "cpuMillis": 100, "memoryMib": memory } });
        let plain = json!({ "cpuMillis": 50, "memoryMib": 64 });
        json!({ "api": role, "worker": role, "migrate": plain, "cache": plain, "database": { "connectionsPerService": connections } })
    };
    let mut elastic = size(2, 128, 10);
    elastic["api"]["autoscaling"] = json!({ "maxReplicas": 5, "targetCpuPercent": 60 });
    parse(json!({
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "ResourceGroupClass",
        "metadata": { "name": "standard", "uid": "class-uid", "generation": 1 },
        "spec": {
            "sizes": { "small": size(1, 128, 10), "large": size(3, 2048, 30), "elastic": elastic },
            "postgres": { "servers": [{
                "name": "main",
                "host": "postgres.tenantry-system.svc",
                "port": 5432,
                "tls": "prefer",
                "adminSecretRef": { "name": "postgres-admin" },
                "network": { "namespace": "tenantry-system", "podLabels": { "app": "postgres" } },
                "connectionLimit": 200,
            }] },
            "cache": { "image": "registry.example/valkey@sha256:aa" },
        },
    }))
}

/// A release of `campaigns` (database, cache, worker) and `greeter` (an API alone).
pub fn release(name: &str, schema: u32) -> Release {
    parse(json!({
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "Release",
        "metadata": { "name": name, "uid": format!("{name}-uid"), "generation": 1 },
        "spec": { "services": {
            "campaigns": {
                "image": format!("registry.example/campaigns@sha256:{name}"),
                "roles": { "api": { "port": 8080 }, "worker": { "metricsPort": 8081 } },
                "needs": { "database": {}, "cache": {} },
                "schema": { "version": schema, "runsOnFrom": 1 },
                "settings": {
                    "type": "object",
                    "properties": { "baseCurrency": { "type": "string" }, "grace": { "type": "integer" } },
                    "additionalProperties": false,
                },
            },
            "greeter": {
                "image": format!("registry.example/greeter@sha256:{name}"),
                "roles": { "api": { "port": 8080 } },
                "settings": { "type": "object" },
            },
        } },
    }))
}

pub fn group() -> ResourceGroup {
    parse(json!({
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "ResourceGroup",
        "metadata": { "name": "pcasia", "uid": "group-uid", "generation": 1 },
        "spec": {
            "classRef": { "name": "standard" },
            "owners": [{ "kind": "Group", "name": "pcasia-developers" }],
            "services": { "campaigns": { "settings": { "baseCurrency": "EUR", "grace": 5 } }, "greeter": {} },
            "slots": [
                { "name": "dev", "size": "small", "release": "v1", "services": { "campaigns": { "settings": { "grace": null } } } },
                { "name": "staging", "size": "small", "promoteFrom": "dev", "initialRelease": "v1" },
            ],
        },
    }))
}

pub fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}
