package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Compile gives what the policies of a cluster come to. Selectors and blocks
// that are used many times come out once. What cannot be understood, which the
// API server admits none of, selects pods and allows nothing.
func Compile(cluster *Cluster) *Ruleset {
	c := &compiler{
		pods:       cluster.addresses(),
		namespaces: make(map[string]labels.Set, len(cluster.Namespaces)),
		members:    make(map[string][]netip.Addr),
		out: &Ruleset{
			Pods:      make(map[netip.Addr]Isolation),
			Profiles:  make(map[string]Profile),
			Policies:  make(map[string]Policy),
			Addresses: make(map[string]AddressSet),
			Blocks:    make(map[string][]netip.Prefix),
		},
	}
	for _, namespace := range cluster.Namespaces {
		c.namespaces[namespace.Name] = namespace.Labels
	}
	for address, pod := range c.pods {
		c.members[pod.Namespace] = append(c.members[pod.Namespace], address)
	}
	applied := make(map[netip.Addr]map[Direction]Profile, len(c.pods))
	for _, policy := range cluster.Policies {
		selected := c.selected(policy)
		if len(selected) == 0 {
			continue
		}
		for _, direction := range directionsOf(&policy.Spec) {
			name := c.policy(policy, direction)
			for _, address := range selected {
				if applied[address] == nil {
					applied[address] = make(map[Direction]Profile)
				}
				applied[address][direction] = append(applied[address][direction], name)
			}
		}
	}
	for address := range c.pods {
		isolation := make(Isolation)
		for direction, profile := range applied[address] {
			isolation[direction] = c.profile(direction, profile)
		}
		c.out.Pods[address] = isolation
	}
	return c.out
}

type compiler struct {
	pods       map[netip.Addr]*corev1.Pod
	namespaces map[string]labels.Set
	// members are the addresses of each namespace's pods.
	members map[string][]netip.Addr
	out     *Ruleset
}

// selected gives the pods that a policy is about.
func (c *compiler) selected(policy *networkingv1.NetworkPolicy) []netip.Addr {
	selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
	if err != nil {
		selector = labels.Everything()
	}
	return c.inNamespace(policy.Namespace, selector)
}

func (c *compiler) inNamespace(namespace string, selector labels.Selector) []netip.Addr {
	var found []netip.Addr
	for _, address := range c.members[namespace] {
		if selector.Matches(labels.Set(c.pods[address].Labels)) {
			found = append(found, address)
		}
	}
	return found
}

// directionsOf are the directions in which a policy isolates. The API server
// fills the field in; its default is honoured all the same.
func directionsOf(spec *networkingv1.NetworkPolicySpec) []Direction {
	types := spec.PolicyTypes
	if len(types) == 0 {
		types = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(spec.Egress) > 0 {
			types = append(types, networkingv1.PolicyTypeEgress)
		}
	}
	var out []Direction
	for _, direction := range directions {
		if slices.ContainsFunc(types, func(t networkingv1.PolicyType) bool { return strings.EqualFold(string(t), string(direction)) }) {
			out = append(out, direction)
		}
	}
	return out
}

// profile gives the name of a combination of policies.
func (c *compiler) profile(direction Direction, policies Profile) string {
	slices.Sort(policies)
	policies = slices.Compact(policies)
	name := "pod-" + string(direction) + "-" + digest(policies)
	c.out.Profiles[name] = policies
	return name
}

// policy compiles one direction of a policy and gives its name.
func (c *compiler) policy(policy *networkingv1.NetworkPolicy, direction Direction) string {
	source := policy.Namespace + "/" + policy.Name
	name := "policy-" + string(direction) + "-" + digest(source)
	compiled := Policy{Source: source, Direction: direction}
	if direction == Ingress {
		for _, rule := range policy.Spec.Ingress {
			compiled.Rules = append(compiled.Rules, c.rules(policy.Namespace, rule.From, rule.Ports)...)
		}
	} else {
		for _, rule := range policy.Spec.Egress {
			compiled.Rules = append(compiled.Rules, c.rules(policy.Namespace, rule.To, rule.Ports)...)
		}
	}
	c.out.Policies[name] = compiled
	return name
}

// rules are the combinations of a rule's peers and ports.
func (c *compiler) rules(namespace string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) []Rule {
	var rules []Rule
	for _, peer := range c.peers(namespace, peers) {
		for _, port := range c.ports(ports) {
			port.Peer = peer
			rules = append(rules, port)
		}
	}
	return rules
}

// peers gives the sets of a list of peers: all its blocks in one.
func (c *compiler) peers(namespace string, peers []networkingv1.NetworkPolicyPeer) []Set {
	if len(peers) == 0 {
		return []Set{""}
	}
	var sets []Set
	var blocks []netip.Prefix
	for _, peer := range peers {
		switch {
		case peer.IPBlock != nil:
			blocks = append(blocks, prefixes(peer.IPBlock)...)
		case peer.PodSelector != nil || peer.NamespaceSelector != nil:
			sets = append(sets, c.podSet(namespace, peer.NamespaceSelector, peer.PodSelector))
		}
	}
	if len(blocks) > 0 {
		sets = append(sets, c.blockSet(union(blocks)))
	}
	slices.Sort(sets)
	return slices.Compact(sets)
}

// prefixes are the addresses of a block. The cluster has none of IPv6.
func prefixes(block *networkingv1.IPBlock) []netip.Prefix {
	cidr, err := netip.ParsePrefix(block.CIDR)
	if err != nil || !cidr.Addr().Is4() {
		return nil
	}
	var exceptions []netip.Prefix
	for _, except := range block.Except {
		exception, err := netip.ParsePrefix(except)
		if err != nil {
			return nil
		}
		exceptions = append(exceptions, exception)
	}
	return subtract(cidr, exceptions)
}

// podSet gives the set of the pods that two selectors meet in; without one for
// namespaces, of the policy's own.
func (c *compiler) podSet(namespace string, namespaces, pods *metav1.LabelSelector) Set {
	if namespaces != nil {
		namespace = ""
	}
	name := "pods-" + digest(namespace, namespaces, pods)
	if _, made := c.out.Addresses[name]; !made {
		c.out.Addresses[name] = c.meet(namespace, namespaces, pods)
	}
	return Set(name)
}

func (c *compiler) meet(namespace string, namespaces, pods *metav1.LabelSelector) AddressSet {
	set := make(AddressSet)
	podSelector := labels.Everything()
	var err error
	if pods != nil {
		if podSelector, err = metav1.LabelSelectorAsSelector(pods); err != nil {
			return set
		}
	}
	add := func(namespace string) {
		for _, address := range c.inNamespace(namespace, podSelector) {
			set[address] = struct{}{}
		}
	}
	if namespaces == nil {
		add(namespace)
		return set
	}
	namespaceSelector, err := metav1.LabelSelectorAsSelector(namespaces)
	if err != nil {
		return set
	}
	for name, own := range c.namespaces {
		if namespaceSelector.Matches(own) {
			add(name)
		}
	}
	return set
}

func (c *compiler) blockSet(blocks []netip.Prefix) Set {
	name := "blocks-" + digest(blocks)
	c.out.Blocks[name] = blocks
	return Set(name)
}

// ports gives rules without a peer for a list of ports.
func (c *compiler) ports(ports []networkingv1.NetworkPolicyPort) []Rule {
	if len(ports) == 0 {
		return []Rule{{}}
	}
	var rules []Rule
	for _, port := range ports {
		protocol := corev1.ProtocolTCP
		if port.Protocol != nil {
			protocol = *port.Protocol
		}
		switch {
		case port.Port == nil:
			rules = append(rules, Rule{Protocol: protocol})
		case port.Port.Type == intstr.String:
			rules = append(rules, c.named(port.Port.StrVal, protocol)...)
		default:
			last := port.Port.IntVal
			if port.EndPort != nil {
				last = *port.EndPort
			}
			rules = append(rules, Rule{Protocol: protocol, Ports: &PortRange{uint16(port.Port.IntVal), uint16(last)}})
		}
	}
	return rules
}

// named gives a rule for each number that a port's name stands for, with the
// pods for which it does. The pod that is asked counts, in both directions.
func (c *compiler) named(name string, protocol corev1.Protocol) []Rule {
	pods := make(map[uint16]AddressSet)
	for address, pod := range c.pods {
		for _, number := range portsNamed(pod, name, protocol) {
			if pods[number] == nil {
				pods[number] = make(AddressSet)
			}
			pods[number][address] = struct{}{}
		}
	}
	var rules []Rule
	for number, having := range pods {
		set := "port-" + digest(name, protocol, number)
		c.out.Addresses[set] = having
		rules = append(rules, Rule{Server: Set(set), Protocol: protocol, Ports: &PortRange{number, number}})
	}
	slices.SortFunc(rules, func(a, b Rule) int { return int(a.Ports.First) - int(b.Ports.First) })
	return rules
}

// digest gives a short name for values: the same for the same.
func digest(values ...any) string {
	// Plain data of the API's own types: it can always be written as JSON.
	data, _ := json.Marshal(values)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}
