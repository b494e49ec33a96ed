package policy

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// Direction is one of the two that a policy may speak of.
type Direction string

// The directions, as seen from the pods that a policy selects.
const (
	Egress  Direction = "egress"
	Ingress Direction = "ingress"
)

var directions = []Direction{Egress, Ingress}

// Ruleset is what the node is to enforce: policies without selectors, protocols
// without defaults, ports without names. A connection passes when its client's
// egress and its server's ingress allow it.
type Ruleset struct {
	// Pods are the addresses that are known, each with the profile that it has
	// in each direction; none in a direction in which no policy selects it.
	Pods map[netip.Addr]Isolation
	// Profiles are combinations of policies of one direction, by name: one that
	// allows is enough. Pods with the same policies share a profile.
	Profiles map[string]Profile
	// Policies are one direction of a NetworkPolicy each, by name: one rule
	// that matches is enough.
	Policies map[string]Policy
	// Addresses are sets of pods, by name, that rules refer to.
	Addresses map[string]AddressSet
	// Blocks are sets of disjoint address ranges, by name.
	Blocks map[string][]netip.Prefix
}

// Isolation names the profiles of a pod.
type Isolation map[Direction]string

// Profile is the set of policies that applies to a pod in one direction.
type Profile []string

// Policy is one direction of a NetworkPolicy.
type Policy struct {
	// Source is namespace and name of the NetworkPolicy.
	Source    string
	Direction Direction
	Rules     []Rule
}

// AddressSet is a set of pods.
type AddressSet map[netip.Addr]struct{}

// Rule allows what meets all of its conditions.
type Rule struct {
	// Peer names a set of addresses in which the other side must be; empty for any.
	Peer Set
	// Server names a set of addresses in which the server must be: the pods for
	// which a port's name stands for Ports. Empty for any.
	Server Set
	// Protocol is empty for any, and then there are no ports.
	Protocol corev1.Protocol
	// Ports is nil for any.
	Ports *PortRange
}

// Set refers to one of the ruleset's Addresses or Blocks.
type Set string

// PortRange includes both ends.
type PortRange struct{ First, Last uint16 }
