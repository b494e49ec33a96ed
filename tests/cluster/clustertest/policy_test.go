//go:build node

package clustertest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// policyPromise is how soon a change of policies has to be in force.
const policyPromise = 2 * time.Second

// policiesWork closes the namespace of the pod `writer` under its feet, and
// that of CoreDNS.
func policiesWork(t *testing.T, client kubernetes.Interface) {
	writer, err := client.CoreV1().Pods("default").Get(t.Context(), "writer", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	health := corednsAddress(t, client) + ":8080"
	apiServer := strings.TrimPrefix(clusterServer(t, client), "https://")
	pid := processOf(t, writer.UID)

	opened, err := dialFrom(pid, health)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	answers := bufio.NewReader(opened)
	if err := askAgain(opened, answers); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{health, apiServer} {
		if err := tryFrom(pid, address); err != nil {
			t.Fatalf("before any policy: %v", err)
		}
	}
	lift := closeNamespace(t, client, "default", networkingv1.PolicyTypeEgress)
	for _, address := range []string{health, apiServer} {
		eventually(t, policyPromise, address+" is refused", func(context.Context) error { return refused(tryFrom(pid, address)) })
	}
	if err := askAgain(opened, answers); err == nil {
		t.Error("a connection from before the policy still works")
	}
	lift()
	eventually(t, policyPromise, "the policy is gone", func(context.Context) error { return tryFrom(pid, health) })

	lift = closeNamespace(t, client, "kube-system", networkingv1.PolicyTypeIngress)
	eventually(t, policyPromise, "CoreDNS is closed", func(context.Context) error { return refused(tryFrom(pid, health)) })
	// The machine itself stays outside of policies, as a node does.
	if err := askHealth(t.Context(), health); err != nil {
		t.Errorf("the machine, to a closed pod: %v", err)
	}
	lift()
}

// closeNamespace keeps everything from or to a namespace's pods until lift is called.
func closeNamespace(t *testing.T, client kubernetes.Interface, namespace string, direction networkingv1.PolicyType) (lift func()) {
	t.Helper()
	policies := client.NetworkingV1().NetworkPolicies(namespace)
	_, err := policies.Create(t.Context(), &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "closed"},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{direction}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := policies.Delete(t.Context(), "closed", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func corednsAddress(t *testing.T, client kubernetes.Interface) string {
	t.Helper()
	pods, err := client.CoreV1().Pods("kube-system").List(t.Context(), metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil && pod.Status.PodIP != "" {
			return pod.Status.PodIP
		}
	}
	t.Fatal("CoreDNS has no pod with an address")
	return ""
}

// clusterServer is the API server as pods see it: an address of the node itself.
func clusterServer(t *testing.T, client kubernetes.Interface) string {
	t.Helper()
	return client.CoreV1().RESTClient().Get().URL().Scheme + "://" + client.CoreV1().RESTClient().Get().URL().Host
}

// processOf finds a process of a pod, all of which share its network.
func processOf(t *testing.T, pod types.UID) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		group, _ := os.ReadFile(file) // may have ended
		var pid int
		if strings.Contains(string(group), string(pod)) {
			if _, err := fmt.Sscanf(file, "/proc/%d/cgroup", &pid); err == nil {
				return pid
			}
		}
	}
	t.Fatalf("pod %s has no process", pod)
	return 0
}

// dialFrom connects from the network of a process.
func dialFrom(pid int, address string) (connection net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the thread ends with this function.
		runtime.LockOSThread()
		var network netns.NsHandle
		if network, err = netns.GetFromPid(pid); err != nil {
			return
		}
		defer network.Close()
		if err = netns.Set(network); err != nil {
			return
		}
		connection, err = net.DialTimeout("tcp", address, policyPromise)
	}()
	<-done
	return connection, err
}

func tryFrom(pid int, address string) error {
	connection, err := dialFrom(pid, address)
	if err != nil {
		return err
	}
	return connection.Close()
}

func refused(err error) error {
	if err == nil {
		return errors.New("it is reached")
	}
	return nil
}

// askAgain asks for CoreDNS's health over a connection that is open.
func askAgain(connection net.Conn, answers *bufio.Reader) error {
	if err := connection.SetDeadline(time.Now().Add(policyPromise)); err != nil {
		return err
	}
	if _, err := io.WriteString(connection, "GET /health HTTP/1.1\r\nHost: coredns\r\n\r\n"); err != nil {
		return err
	}
	response, err := http.ReadResponse(answers, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
