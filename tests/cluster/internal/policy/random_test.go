package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// random makes clusters and policies out of few words, so that they meet often.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 0))} }

// service is a port that a program could listen on.
type service struct {
	protocol corev1.Protocol
	port     uint16
}

var (
	podRange     = netip.MustParsePrefix("10.99.0.0/18")
	nodeAddress  = netip.MustParseAddr("10.99.255.2")
	hostAddress  = netip.MustParseAddr("10.99.255.1")
	outsiders    = []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("198.51.100.7")}
	testServices = []service{{corev1.ProtocolTCP, 80}, {corev1.ProtocolTCP, 8080}, {corev1.ProtocolUDP, 53}, {corev1.ProtocolUDP, 8080}}
	portNames    = []string{"web", "admin", "names"}
	labelKeys    = []string{"app", "tier"}
	labelValues  = []string{"a", "b", "c"}
)

func pick[T any](r random, from []T) T { return from[r.IntN(len(from))] }

// chance is true in one of n cases.
func (r random) chance(n int) bool { return r.IntN(n) == 0 }

func (r random) labels() map[string]string {
	labels := map[string]string{}
	for _, key := range labelKeys {
		if !r.chance(4) {
			labels[key] = pick(r, labelValues)
		}
	}
	return labels
}

// cluster makes namespaces and pods with addresses. Some pods have none, some
// the node's, some have ended.
func (r random) cluster(namespaces, pods int) *Cluster {
	c := &Cluster{}
	for i := range namespaces {
		name := fmt.Sprintf("ns%d", i)
		labels := r.labels()
		labels[corev1.LabelMetadataName] = name
		c.Namespaces = append(c.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	}
	address := podRange.Addr().Next()
	for i := range pods {
		address = address.Next()
		pod := r.pod(pick(r, c.Namespaces).Name, fmt.Sprintf("pod%d", i), address)
		switch {
		case r.chance(20):
			pod.Spec.HostNetwork, pod.Status.PodIP = true, nodeAddress.String()
		case r.chance(20):
			pod.Status.PodIP = ""
		case r.chance(20):
			pod.Status.Phase = corev1.PodSucceeded
		}
		c.Pods = append(c.Pods, pod)
	}
	return c
}

// pod makes one whose named ports are among testServices.
func (r random) pod(namespace, name string, address netip.Addr) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + "/" + name), Labels: r.labels()},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address.String()},
	}
	container := corev1.Container{Name: "main"}
	for _, named := range portNames {
		if r.chance(3) {
			continue
		}
		service := pick(r, testServices)
		port := corev1.ContainerPort{Name: named, ContainerPort: int32(service.port), Protocol: service.protocol}
		if port.Protocol == corev1.ProtocolTCP && r.chance(2) {
			port.Protocol = "" // means TCP
		}
		container.Ports = append(container.Ports, port)
	}
	pod.Spec.Containers = []corev1.Container{container}
	if r.chance(4) {
		sidecar := corev1.Container{Name: "before", Ports: []corev1.ContainerPort{{Name: pick(r, portNames), ContainerPort: 80}}}
		if r.chance(2) {
			sidecar.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		}
		pod.Spec.InitContainers = []corev1.Container{sidecar}
	}
	return pod
}

func (r random) policies(c *Cluster, count int) []*networkingv1.NetworkPolicy {
	var policies []*networkingv1.NetworkPolicy
	for i := range count {
		policy := &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: pick(r, c.Namespaces).Name, Name: fmt.Sprintf("policy%d", i)},
			Spec:       networkingv1.NetworkPolicySpec{PodSelector: *r.selector()},
		}
		spec := &policy.Spec
		for range r.IntN(3) {
			spec.Ingress = append(spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: r.peers(), Ports: r.ports()})
		}
		for range r.IntN(3) {
			spec.Egress = append(spec.Egress, networkingv1.NetworkPolicyEgressRule{To: r.peers(), Ports: r.ports()})
		}
		switch r.IntN(5) {
		case 0:
			spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		case 1:
			spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
		case 2:
			spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress, networkingv1.PolicyTypeIngress}
		}
		policies = append(policies, policy)
	}
	return policies
}

func (r random) selector() *metav1.LabelSelector {
	selector := &metav1.LabelSelector{}
	switch r.IntN(6) {
	case 0, 1:
		selector.MatchLabels = map[string]string{pick(r, labelKeys): pick(r, labelValues)}
	case 2:
		selector.MatchLabels = map[string]string{"app": pick(r, labelValues), "tier": pick(r, labelValues)}
	case 3, 4:
		for range 1 + r.IntN(2) {
			requirement := metav1.LabelSelectorRequirement{Key: pick(r, labelKeys), Operator: pick(r, []metav1.LabelSelectorOperator{
				metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist})}
			if requirement.Operator == metav1.LabelSelectorOpIn || requirement.Operator == metav1.LabelSelectorOpNotIn {
				for range 1 + r.IntN(2) {
					requirement.Values = append(requirement.Values, pick(r, labelValues))
				}
			}
			selector.MatchExpressions = append(selector.MatchExpressions, requirement)
		}
	}
	return selector
}

func (r random) peers() []networkingv1.NetworkPolicyPeer {
	var peers []networkingv1.NetworkPolicyPeer
	for range r.IntN(4) {
		var peer networkingv1.NetworkPolicyPeer
		switch r.IntN(4) {
		case 0:
			peer.PodSelector = r.selector()
		case 1:
			peer.NamespaceSelector = r.selector()
		case 2:
			peer.PodSelector, peer.NamespaceSelector = r.selector(), r.selector()
		case 3:
			peer.IPBlock = r.block()
		}
		peers = append(peers, peer)
	}
	return peers
}

// block covers pods, the node, the host or an outsider, and not all of them.
func (r random) block() *networkingv1.IPBlock {
	address := func() netip.Addr {
		switch r.IntN(5) {
		case 0:
			return nodeAddress
		case 1:
			return pick(r, outsiders)
		case 2:
			return hostAddress
		}
		bytes := podRange.Addr().As4()
		bytes[3] = byte(r.IntN(32))
		return netip.AddrFrom4(bytes)
	}
	if r.chance(12) {
		return &networkingv1.IPBlock{CIDR: "2001:db8::/32"}
	}
	around, bits := address(), pick(r, []int{0, 8, 16, 24, 27, 29, 31, 32})
	block := &networkingv1.IPBlock{CIDR: netip.PrefixFrom(around, bits).Masked().String()}
	for range r.IntN(3) {
		if bits == 32 {
			break
		}
		bytes := around.As4()
		if inside := address(); netip.PrefixFrom(around, bits).Contains(inside) {
			bytes = inside.As4()
		}
		except := netip.PrefixFrom(netip.AddrFrom4(bytes), bits+1+r.IntN(32-bits)).Masked()
		block.Except = append(block.Except, except.String())
	}
	return block
}

func (r random) ports() []networkingv1.NetworkPolicyPort {
	var ports []networkingv1.NetworkPolicyPort
	for range r.IntN(4) {
		var port networkingv1.NetworkPolicyPort
		service := pick(r, testServices)
		if service.protocol != corev1.ProtocolTCP || r.chance(2) {
			port.Protocol = &service.protocol
		}
		if r.chance(15) {
			port.Protocol = new(corev1.ProtocolSCTP)
		}
		switch r.IntN(4) {
		case 0: // the protocol alone
		case 1:
			port.Port = new(intstr.FromInt32(int32(service.port)))
		case 2:
			first := int32(service.port) - int32(r.IntN(40))
			port.Port = new(intstr.FromInt32(first))
			port.EndPort = new(first + int32(r.IntN(60)))
		case 3:
			port.Port = new(intstr.FromString(pick(r, portNames)))
		}
		ports = append(ports, port)
	}
	return ports
}
