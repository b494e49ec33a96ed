package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// allows follows a ruleset as the chains of nftables do.
func (r *Ruleset) allows(client, server netip.Addr, s service) bool {
	if _, known := r.Pods[client]; known && client == server {
		return true
	}
	if podRange.Contains(client) && !r.sideAllows(client, Egress, client, server, s) {
		return false
	}
	return client == nodeAddress || client == hostAddress || !podRange.Contains(server) || r.sideAllows(server, Ingress, client, server, s)
}

func (r *Ruleset) sideAllows(subject netip.Addr, direction Direction, client, server netip.Addr, s service) bool {
	isolation, known := r.Pods[subject]
	if !known {
		return false
	}
	if isolation[direction] == "" {
		return true
	}
	for _, policy := range r.Profiles[isolation[direction]] {
		for _, rule := range r.Policies[policy].Rules {
			peer := server
			if direction == Ingress {
				peer = client
			}
			if r.contains(rule.Peer, peer) && r.contains(rule.Server, server) && (rule.Protocol == "" || rule.Protocol == s.protocol) &&
				(rule.Ports == nil || rule.Ports.First <= s.port && s.port <= rule.Ports.Last) {
				return true
			}
		}
	}
	return false
}

func (r *Ruleset) contains(set Set, address netip.Addr) bool {
	if set == "" {
		return true
	}
	if _, member := r.Addresses[string(set)][address]; member {
		return true
	}
	return slices.ContainsFunc(r.Blocks[string(set)], func(p netip.Prefix) bool { return p.Contains(address) })
}

// ends are all that can be the end of a connection: pods, those without a pod,
// and none for pods that have no address of their own.
func ends(c *Cluster) []end {
	all := []end{{address: nodeAddress}, {address: hostAddress}}
	for _, outsider := range outsiders {
		all = append(all, end{address: outsider})
	}
	for _, pod := range c.Pods {
		address, err := netip.ParseAddr(pod.Status.PodIP)
		if err == nil && !pod.Spec.HostNetwork && pod.Status.Phase == corev1.PodRunning {
			all = append(all, end{pod, address})
		}
	}
	return all
}

func TestCompiledPoliciesJudgeAsTheDocumentationDoes(t *testing.T) {
	services := append([]service{{corev1.ProtocolSCTP, 80}, {corev1.ProtocolTCP, 9999}}, testServices...)
	verdicts := map[bool]int{}
	seed := uint64(time.Now().UnixNano())
	for round := range uint64(150) {
		r := newRandom(seed + round)
		cluster := r.cluster(4, 24)
		cluster.Policies = r.policies(cluster, r.IntN(10))
		judge, ruleset := naive{cluster}, Compile(cluster)
		for _, client := range ends(cluster) {
			for _, server := range ends(cluster) {
				if client.pod == nil && server.pod == nil {
					continue
				}
				for _, s := range services {
					expected := judge.passes(connection{client, server, s})
					verdicts[expected]++
					if ruleset.allows(client.address, server.address, s) != expected {
						t.Fatalf("seed %d: %s to %s, %s %d: expected %t\n%s", seed+round, client, server, s.protocol, s.port, expected, policiesOf(cluster))
					}
				}
			}
		}
	}
	t.Logf("allowed %d, refused %d", verdicts[true], verdicts[false])
	if verdicts[true] < 10_000 || verdicts[false] < 10_000 {
		t.Error("too few of one verdict to mean anything")
	}
}

func (e end) String() string {
	if e.pod == nil {
		return e.address.String()
	}
	return fmt.Sprintf("%s/%s (%s, %v)", e.pod.Namespace, e.pod.Name, e.address, e.pod.Labels)
}

func policiesOf(c *Cluster) string {
	text, _ := yaml.Marshal(map[string]any{"policies": c.Policies, "namespaces": c.Namespaces})
	return string(text)
}

func TestABlockWithoutItsExceptionsCoversEachAddressAtMostOnce(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for round := range uint64(300) {
		r := newRandom(seed + round)
		var blocks []*networkingv1.IPBlock
		var all []netip.Prefix
		for range 1 + r.IntN(4) {
			block := r.block()
			blocks = append(blocks, block)
			all = append(all, prefixes(block)...)
		}
		covered := union(all)
		for i := range covered {
			if i > 0 && covered[i].Overlaps(covered[i-1]) {
				t.Fatalf("seed %d: %v overlap", seed+round, covered)
			}
		}
		candidates := append([]netip.Addr{nodeAddress, hostAddress, netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("0.0.0.0")}, outsiders...)
		for _, prefix := range covered {
			candidates = append(candidates, prefix.Addr(), prefix.Addr().Prev(), prefix.Addr().Next())
		}
		for _, address := range candidates {
			if !address.IsValid() {
				continue
			}
			expected := slices.ContainsFunc(blocks, func(b *networkingv1.IPBlock) bool { return inBlock(b, address.AsSlice()) })
			if found := slices.ContainsFunc(covered, func(p netip.Prefix) bool { return p.Contains(address) }); found != expected {
				t.Fatalf("seed %d: %s is covered: %t, expected %t, by %v", seed+round, address, found, expected, covered)
			}
		}
	}
}

func TestAnAddressBelongsToThePodThatTheNetworkPluginNamed(t *testing.T) {
	r := newRandom(1)
	address := podRange.Addr().Next().Next()
	before, after := r.pod("a", "before", address), r.pod("b", "after", netip.Addr{})
	after.Status.PodIP = ""
	cluster := &Cluster{
		Namespaces: []*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, {ObjectMeta: metav1.ObjectMeta{Name: "b"}}},
		Pods:       []*corev1.Pod{before, after},
		Policies: []*networkingv1.NetworkPolicy{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "b", Name: "closed"},
		}},
		Attached: map[types.UID]netip.Addr{after.UID: address},
	}
	if Compile(cluster).Pods[address][Ingress] == "" {
		t.Error("the address still has the policies of the pod before")
	}
}
