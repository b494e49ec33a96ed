package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"tenantry.dev/tests/cluster/internal/images"
)

// loadImages gives containerd the two images that the node itself needs, both
// made of this binary, and notes in the settings the name of the one that
// CoreDNS and metrics-server run from.
func (n *nodeParts) loadImages(ctx context.Context) error {
	containerd := images.Containerd{Socket: n.layout.containerdSocket()}
	pause, err := images.Pause()
	if err != nil {
		return err
	}
	if _, err := containerd.Import(ctx, pause, pauseImage, pauseImage); err != nil {
		return err
	}
	program, err := images.OfProgram("/proc/self/exe", "tenantry-cluster")
	if err != nil {
		return err
	}
	imported, err := containerd.Import(ctx, program, "tenantry.local/cluster", "")
	if err != nil {
		return err
	}
	n.settings.ProgramImage = imported.Names[0]
	return nil
}

// applyAddons applies what a cluster needs beside its parts: CoreDNS,
// metrics-server, and a class of volumes.
func (n *nodeParts) applyAddons(ctx context.Context) error {
	manifests, err := n.render("addons.yaml")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "kubectl", "apply",
		"--server-side", "--force-conflicts", "--field-manager=tenantry-cluster",
		"--kubeconfig", n.layout.Kubeconfig(), "--cache-dir", n.path("kubectl-cache"), "--filename", "-")
	var output bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(manifests), &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apply CoreDNS, metrics-server and the storage class: %w: %s", err, strings.TrimSpace(output.String()))
	}
	return nil
}

// nodeReady is without error when Kubernetes calls the node ready.
func nodeReady(client kubernetes.Interface, name string) func(context.Context) error {
	return func(ctx context.Context) error {
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
				return errors.New(condition.Message)
			} else if condition.Type == corev1.NodeReady {
				return nil
			}
		}
		return errors.New("kubelet has not said anything yet")
	}
}

// namesResolve is without error when CoreDNS answers under its Service's
// address: then its pod runs, pods have a network, and kube-proxy works.
func namesResolve(address string) func(context.Context) error {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(address, "53"))
	}}
	return func(ctx context.Context) error {
		_, err := resolver.LookupHost(ctx, "kubernetes.default.svc.cluster.local.")
		return err
	}
}

// podsReady is without error when the Deployment has all its pods ready, of
// the newest template.
func podsReady(client kubernetes.Interface, namespace, name string) func(context.Context) error {
	return func(ctx context.Context) error {
		deployment, err := client.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		status := deployment.Status
		if status.ObservedGeneration < deployment.Generation || status.UpdatedReplicas < *deployment.Spec.Replicas ||
			status.AvailableReplicas < *deployment.Spec.Replicas {
			return fmt.Errorf("%d of %d pods are available", status.AvailableReplicas, *deployment.Spec.Replicas)
		}
		return nil
	}
}
