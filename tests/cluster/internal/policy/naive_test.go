package policy

import (
	"net"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// naive judges connections straight from the API's documentation, for one
// policy after the other. It is slow, and shares nothing with what it judges.
type naive struct{ *Cluster }

// end is one end of a connection: a pod, or only an address.
type end struct {
	pod     *corev1.Pod
	address netip.Addr
}

type connection struct {
	client, server end
	service        service
}

// passes: "For a connection from a source pod to a destination pod to be
// allowed, both the egress policy on the source pod and the ingress policy on
// the destination pod need to allow the connection."
func (n naive) passes(c connection) bool {
	// "Pods cannot block access to themselves."
	if c.client.pod != nil && c.client.pod == c.server.pod {
		return true
	}
	return n.allowed(c, c.client, "Egress") && (n.ofNode(c.client) || n.allowed(c, c.server, "Ingress"))
}

// ofNode: "Traffic to and from the node where a Pod is running is always
// allowed" of which this cluster keeps the half that kubelet's probes need.
func (n naive) ofNode(e end) bool { return e.address == nodeAddress || e.address == hostAddress }

// allowed: "By default, a pod is non-isolated [...]; all connections are
// allowed. A pod is isolated if there is any NetworkPolicy that both selects
// the pod and has [the direction] in its policyTypes [...]. The effects of
// those lists combine additively."
func (n naive) allowed(c connection, subject end, direction networkingv1.PolicyType) bool {
	if subject.pod == nil {
		return true
	}
	isolated := false
	for _, policy := range n.Policies {
		if policy.Namespace != subject.pod.Namespace || !matches(&policy.Spec.PodSelector, subject.pod.Labels) {
			continue
		}
		if !n.speaksOf(policy, direction) {
			continue
		}
		isolated = true
		if direction == "Egress" {
			for _, rule := range policy.Spec.Egress {
				if n.peersMatch(policy.Namespace, rule.To, c.server) && n.portsMatch(rule.Ports, c) {
					return true
				}
			}
			continue
		}
		for _, rule := range policy.Spec.Ingress {
			if n.peersMatch(policy.Namespace, rule.From, c.client) && n.portsMatch(rule.Ports, c) {
				return true
			}
		}
	}
	return !isolated
}

// speaksOf: "If no policyTypes are specified on a NetworkPolicy then by default
// Ingress will always be set and Egress will be set if the NetworkPolicy has
// any egress rules."
func (n naive) speaksOf(policy *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	for _, listed := range policy.Spec.PolicyTypes {
		if listed == direction {
			return true
		}
	}
	return len(policy.Spec.PolicyTypes) == 0 && (direction == "Ingress" || len(policy.Spec.Egress) > 0)
}

// peersMatch: "If this field is empty or missing, this rule matches all".
func (n naive) peersMatch(namespace string, peers []networkingv1.NetworkPolicyPeer, other end) bool {
	for _, peer := range peers {
		if n.peerMatches(namespace, peer, other) {
			return true
		}
	}
	return len(peers) == 0
}

func (n naive) peerMatches(namespace string, peer networkingv1.NetworkPolicyPeer, other end) bool {
	if peer.IPBlock != nil {
		return inBlock(peer.IPBlock, net.IP(other.address.AsSlice()))
	}
	if other.pod == nil {
		return false
	}
	if peer.NamespaceSelector == nil {
		return other.pod.Namespace == namespace && matches(peer.PodSelector, other.pod.Labels)
	}
	for _, candidate := range n.Namespaces {
		if candidate.Name == other.pod.Namespace && matches(peer.NamespaceSelector, candidate.Labels) {
			return peer.PodSelector == nil || matches(peer.PodSelector, other.pod.Labels)
		}
	}
	return false
}

func inBlock(block *networkingv1.IPBlock, address net.IP) bool {
	_, whole, err := net.ParseCIDR(block.CIDR)
	if err != nil || !whole.Contains(address) {
		return false
	}
	for _, except := range block.Except {
		if _, part, err := net.ParseCIDR(except); err != nil || part.Contains(address) {
			return false
		}
	}
	return true
}

func (n naive) portsMatch(ports []networkingv1.NetworkPolicyPort, c connection) bool {
	for _, port := range ports {
		protocol := corev1.ProtocolTCP // "If not specified, this field defaults to TCP."
		if port.Protocol != nil {
			protocol = *port.Protocol
		}
		if protocol != c.service.protocol {
			continue
		}
		if port.Port == nil {
			return true // "If this field is not provided, this matches all port names and numbers."
		}
		if port.Port.Type == intstr.String {
			if hasPort(c.server.pod, port.Port.StrVal, c.service) {
				return true
			}
			continue
		}
		last := port.Port.IntVal
		if port.EndPort != nil {
			last = *port.EndPort
		}
		if int32(c.service.port) >= port.Port.IntVal && int32(c.service.port) <= last {
			return true
		}
	}
	return len(ports) == 0
}

func hasPort(pod *corev1.Pod, name string, service service) bool {
	if pod == nil {
		return false
	}
	containers := append([]corev1.Container{}, pod.Spec.Containers...)
	for _, container := range pod.Spec.InitContainers {
		if container.RestartPolicy != nil && *container.RestartPolicy == "Always" {
			containers = append(containers, container)
		}
	}
	for _, container := range containers {
		for _, port := range container.Ports {
			protocol := port.Protocol
			if protocol == "" {
				protocol = "TCP"
			}
			if port.Name == name && protocol == service.protocol && uint16(port.ContainerPort) == service.port {
				return true
			}
		}
	}
	return false
}

func matches(selector *metav1.LabelSelector, labels map[string]string) bool {
	for key, value := range selector.MatchLabels {
		if actual, has := labels[key]; !has || actual != value {
			return false
		}
	}
	for _, requirement := range selector.MatchExpressions {
		actual, has := labels[requirement.Key]
		listed := false
		for _, value := range requirement.Values {
			listed = listed || has && value == actual
		}
		switch requirement.Operator {
		case "In":
			if !listed {
				return false
			}
		case "NotIn":
			if listed {
				return false
			}
		case "Exists":
			if !has {
				return false
			}
		case "DoesNotExist":
			if has {
				return false
			}
		}
	}
	return true
}
