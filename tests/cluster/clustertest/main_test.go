// Package clustertest starts whole control planes and nodes and looks at them
// from outside. The test binary is tenantry-cluster itself when it is called
// as such, as the supervisors do with their own binary.
package clustertest

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"tenantry.dev/tests/cluster/internal/cli"
	"tenantry.dev/tests/cluster/internal/controlplane"
)

func TestMain(m *testing.M) {
	asCluster := cli.IsNamed(os.Args[0]) || (len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test."))
	if asCluster {
		os.Exit(cli.Main())
	}
	os.Exit(m.Run())
}

// eventually asks until a condition holds.
func eventually(t *testing.T, deadline time.Duration, what string, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s: %v", deadline, what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func clientOf(t *testing.T, kubeconfig string) *kubernetes.Clientset {
	t.Helper()
	client, err := controlplane.Client(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return client
}
