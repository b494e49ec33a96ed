package policy

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/knftables"
)

// tableName is the one nftables table that is ours.
const tableName = "tenantry-network-policy"

// Where connections are judged by their two ends, whichever way a packet goes:
// the client as it was before any translation of addresses, the server as it is
// after. So every packet is judged, by the policies of now; there is no
// `established` that outlives them.
const (
	client = "ct original ip saddr"
	server = "ct reply ip saddr"
	port   = "ct reply proto-src"
)

// refuse is the chain that lets a client know at once.
const refuse = "refuse"

// Network is what the agent has to know of the node's addresses.
type Network struct {
	// Pods is the range that pods get their addresses from. One that no known
	// pod has neither sends nor receives.
	Pods netip.Prefix
	// Machine are addresses outside of the node's network namespace that count
	// as the node's own: no policy keeps a node from its pods.
	Machine []netip.Addr
}

// table is an nftables table as text: what there is, and what there should be,
// compare by it.
type table struct {
	sets   map[string]set
	chains map[string]chain
	// base are the chains that hang on hooks. They never change.
	base []baseChain
}

// set is a set, or a map from addresses to verdicts. Its elements' values are
// verdicts; empty in sets.
type set struct {
	kind     string
	isMap    bool
	interval bool
	elements map[string]string
}

type chain []string

type baseChain struct {
	name     string
	hook     knftables.BaseChainHook
	priority knftables.BaseChainPriority
	rules    chain
}

const (
	// verdicts of pods' addresses, by direction: the profile's chain, or accept.
	egressMap  = "egress"
	ingressMap = "ingress"
	// self holds every known address twice: a pod may always speak to itself.
	self = "self"
)

// render gives the table for a ruleset.
func render(network Network, ruleset *Ruleset) table {
	t := table{sets: make(map[string]set), chains: make(map[string]chain), base: baseChains(network)}
	own := set{kind: "ipv4_addr . ipv4_addr", elements: make(map[string]string)}
	verdicts := map[Direction]set{}
	for _, direction := range directions {
		verdicts[direction] = set{kind: "ipv4_addr : verdict", isMap: true, elements: make(map[string]string)}
	}
	for address, isolation := range ruleset.Pods {
		own.elements[address.String()+" . "+address.String()] = ""
		for _, direction := range directions {
			verdict := "accept"
			if profile := isolation[direction]; profile != "" {
				verdict = "goto " + profile
			}
			verdicts[direction].elements[address.String()] = verdict
		}
	}
	t.sets[self], t.sets[egressMap], t.sets[ingressMap] = own, verdicts[Egress], verdicts[Ingress]
	for name, members := range ruleset.Addresses {
		addresses := set{kind: "ipv4_addr", elements: make(map[string]string, len(members))}
		for member := range members {
			addresses.elements[member.String()] = ""
		}
		t.sets[name] = addresses
	}
	for name, blocks := range ruleset.Blocks {
		ranges := set{kind: "ipv4_addr", interval: true, elements: make(map[string]string, len(blocks))}
		for _, block := range blocks {
			ranges.elements[block.String()] = ""
		}
		t.sets[name] = ranges
	}
	for name, policy := range ruleset.Policies {
		rules := chain{}
		for _, rule := range policy.Rules {
			rules = append(rules, rule.render(policy.Direction))
		}
		t.chains[name] = rules
	}
	for name, policies := range ruleset.Profiles {
		rules := chain{}
		for _, policy := range policies {
			rules = append(rules, "jump "+policy)
		}
		t.chains[name] = append(rules, "goto "+refuse)
	}
	t.chains[refuse] = chain{"meta l4proto tcp reject with tcp reset", "reject with icmp type admin-prohibited"}
	return t
}

func (r Rule) render(direction Direction) string {
	peer := server
	if direction == Ingress {
		peer = client
	}
	var conditions []string
	if r.Peer != "" {
		conditions = append(conditions, fmt.Sprintf("%s @%s", peer, r.Peer))
	}
	if r.Server != "" {
		conditions = append(conditions, fmt.Sprintf("%s @%s", server, r.Server))
	}
	if r.Protocol != "" {
		conditions = append(conditions, "meta l4proto "+protocolName(r.Protocol))
	}
	if r.Ports != nil {
		ports := fmt.Sprintf("%s %d", port, r.Ports.First)
		if r.Ports.Last != r.Ports.First {
			ports += fmt.Sprintf("-%d", r.Ports.Last)
		}
		conditions = append(conditions, ports)
	}
	return strings.Join(append(conditions, "accept"), " ")
}

func protocolName(protocol corev1.Protocol) string { return strings.ToLower(string(protocol)) }

// baseChains are what every packet passes. `accept` ends one of them alone: of
// the two on the forward hook, both have to accept.
func baseChains(network Network) []baseChain {
	pods := network.Pods.String()
	machine := make([]string, len(network.Machine))
	for i, address := range network.Machine {
		machine[i] = address.String()
	}
	judge := func(direction Direction, end string) chain {
		return chain{
			// ICMP's errors about a connection.
			"ct state related meta l4proto icmp accept",
			// The middle of a connection that nobody saw the beginning of.
			"ct state invalid,untracked drop",
			fmt.Sprintf("%s != %s accept", end, pods),
			fmt.Sprintf("%s . %s @%s accept", client, server, self),
			fmt.Sprintf("%s vmap @%s", end, direction),
			// The address of a pod that is not known yet, or no more. It is told
			// nothing, and so it tries again.
			"drop",
		}
	}
	only := func(match string, rules chain) chain {
		// Of IPv6, only what a program says to its own machine came so far.
		return append(chain{"meta nfproto != ipv4 accept", match + " accept"}, rules...)
	}
	forwardIngress := judge(Ingress, server)
	if len(machine) > 0 {
		forwardIngress = append(chain{fmt.Sprintf("%s { %s } accept", client, strings.Join(machine, ", "))}, forwardIngress...)
	}
	outsiders := fmt.Sprintf("ip saddr != %s ip daddr != %s", pods, pods)
	return []baseChain{
		{"arriving", knftables.PreroutingHook, knftables.ManglePriority, chain{
			// The cluster has no addresses of IPv6, but every link has one.
			`meta nfproto ipv6 iifname != "lo" drop`,
			// A sender that is somewhere else, or that nobody has.
			`iifname != "lo" fib saddr . iif oif missing drop`,
		}},
		{"leaving", knftables.OutputHook, knftables.ManglePriority, chain{`meta nfproto ipv6 oifname != "lo" drop`}},
		// After kube-proxy's translation of Services, and its own filters.
		{"forward-egress", knftables.ForwardHook, knftables.FilterPriority + "+10", only(outsiders, judge(Egress, client))},
		{"forward-ingress", knftables.ForwardHook, knftables.FilterPriority + "+20", only(outsiders, forwardIngress)},
		// To the node itself: the pod's egress decides. What the node began may be
		// answered; what the node answers is judged again, by policies of now.
		{"to-node", knftables.InputHook, knftables.FilterPriority + "+10",
			only("ip saddr != "+pods, append(chain{"ct state established ct direction reply accept"}, judge(Egress, client)...))},
		{"from-node", knftables.OutputHook, knftables.FilterPriority + "+10",
			only("ip daddr != "+pods, append(chain{
				"ct state new,established ct direction original accept",
				// What a refusal says: nothing else of TCP is related.
				"ct state related meta l4proto tcp accept",
			}, judge(Egress, client)...))},
	}
}
