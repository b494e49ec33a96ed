//! What a service's pods may reach outside of the cluster: what the class offers, and never, by way of a wide range, the
//! cluster's own addresses.

use ipnet::IpNet;
use serde_json::{Value, json};
use tenantry_contract::EgressNeed;
use tenantry_crds::EgressDestination;
use tenantry_crds::names::{ROLE_LABEL, SERVICE_LABEL};

use super::Place;
use super::network::policy;
use crate::Manifest;
use crate::slot::role_of;

/// What the names of these policies begin with.
pub(crate) const POLICY_PREFIX: &str = "allow-egress-";

/// Ranges in which clusters have their pods, Services, nodes and metadata services: RFC 1918, 6598, 3927, 1122, 4193, 4291.
const INTERNAL: [&str; 10] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

/// Lets the pods of a service's roles reach the destinations of the class.
pub(crate) fn egress_policy(place: &Place, service: &str, need: &EgressNeed, destinations: &[EgressDestination]) -> Manifest {
    let mut roles: Vec<&str> = need.roles.iter().map(|role| role_of(*role).name()).collect();
    roles.sort_unstable();
    roles.dedup();
    let rules: Vec<Value> = destinations.iter().map(rule).collect();
    policy(
        place,
        &format!("{POLICY_PREFIX}{service}"),
        json!({
            "podSelector": {
                "matchLabels": { SERVICE_LABEL: service },
                "matchExpressions": [{ "key": ROLE_LABEL, "operator": "In", "values": roles }],
            },
            "policyTypes": ["Egress"],
            "egress": rules,
        }),
    )
}

fn rule(destination: &EgressDestination) -> Value {
    let blocks: Vec<Value> = destination.cidrs.iter().map(|cidr| json!({ "ipBlock": block(cidr) })).collect();
    let ports: Vec<Value> = destination.ports.iter().map(|port| json!({ "protocol": "TCP", "port": port })).collect();
    json!({ "to": blocks, "ports": ports })
}

/// The range, without the internal ones that lie within it. One that lies within an internal one was meant.
fn block(cidr: &str) -> Value {
    let left_out = |range: &IpNet| {
        let internal = INTERNAL.iter().filter_map(|internal| internal.parse::<IpNet>().ok());
        internal.filter(|internal| internal != range && range.contains(internal)).map(|internal| internal.to_string()).collect()
    };
    // What is no range, admission has refused.
    let except: Vec<String> = cidr.parse::<IpNet>().as_ref().map(left_out).unwrap_or_default();
    if except.is_empty() { json!({ "cidr": cidr }) } else { json!({ "cidr": cidr, "except": except }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_range_does_not_open_the_clusters_own_addresses() {
        let except = |cidr| block(cidr)["except"].as_array().map(|ranges| ranges.iter().filter_map(Value::as_str).count());
        assert_eq!([except("0.0.0.0/0"), except("::/0"), except("8.0.0.0/6")], [Some(7), Some(3), Some(1)]);
        assert_eq!(block("8.0.0.0/6"), json!({ "cidr": "8.0.0.0/6", "except": ["10.0.0.0/8"] }));
    }

    #[test]
    fn a_range_that_is_named_is_let_through_as_it_stands() {
        for cidr in ["192.0.2.10/32", "10.20.0.0/16", "10.0.0.0/8", "2001:db8::/64", "fd00::/64"] {
            assert_eq!(block(cidr), json!({ "cidr": cidr }));
        }
    }
}
