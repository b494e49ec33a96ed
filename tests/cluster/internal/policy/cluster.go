package policy

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Cluster is what policies are compiled from.
type Cluster struct {
	Namespaces []*corev1.Namespace
	Pods       []*corev1.Pod
	Policies   []*networkingv1.NetworkPolicy
	// Attached are the addresses of pods that the network plugin has just told
	// of: earlier than kubelet does, and more reliable for an address that had
	// another pod before.
	Attached map[types.UID]netip.Addr
}

// addresses gives the pods that policies can speak of, by address: those that
// have one of their own, and that have not ended.
func (c *Cluster) addresses() map[netip.Addr]*corev1.Pod {
	pods := make(map[netip.Addr]*corev1.Pod, len(c.Pods))
	attached := make(map[netip.Addr]types.UID, len(c.Attached))
	for uid, address := range c.Attached {
		attached[address] = uid
	}
	for _, pod := range c.Pods {
		if pod.Spec.HostNetwork || hasEnded(pod) {
			continue
		}
		address, known := c.Attached[pod.UID]
		if !known {
			reported, err := netip.ParseAddr(pod.Status.PodIP)
			if err != nil {
				continue // it has none yet
			}
			if _, taken := attached[reported]; taken {
				continue // another pod has it by now
			}
			address = reported
		}
		if other, twice := pods[address]; twice && other.CreationTimestamp.After(pod.CreationTimestamp.Time) {
			continue // the younger one has it by now
		}
		pods[address] = pod
	}
	return pods
}

func hasEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// portsNamed gives the ports of a pod that have this name and protocol.
func portsNamed(pod *corev1.Pod, name string, protocol corev1.Protocol) []uint16 {
	var numbers []uint16
	of := func(container *corev1.Container) {
		for _, port := range container.Ports {
			if port.Name == name && protocolOr(port.Protocol, corev1.ProtocolTCP) == protocol {
				numbers = append(numbers, uint16(port.ContainerPort))
			}
		}
	}
	for i := range pod.Spec.Containers {
		of(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		container := &pod.Spec.InitContainers[i]
		// A sidecar runs beside the others, other init containers before them.
		if container.RestartPolicy != nil && *container.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			of(container)
		}
	}
	return numbers
}

func protocolOr(protocol, otherwise corev1.Protocol) corev1.Protocol {
	if protocol == "" {
		return otherwise
	}
	return protocol
}
