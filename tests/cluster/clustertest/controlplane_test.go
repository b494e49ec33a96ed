package clustertest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"tenantry.dev/tests/cluster/internal/controlplane"
)

// running is a control plane in a process of its own.
type running struct {
	controlplane.Ready
	cmd   *exec.Cmd
	stdin io.WriteCloser
	dir   string
}

// startControlPlane returns before it is ready: see ready.
func startControlPlane(t *testing.T) (r *running, ready func()) {
	t.Helper()
	r = &running{dir: t.TempDir()}
	r.cmd = exec.Command("/proc/self/exe", "control-plane", "run", "--state", r.dir, "--audit", "--until-stdin-closes")
	r.cmd.Stderr = os.Stderr
	var err error
	if r.stdin, err = r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.stdin.Close(); _ = r.cmd.Wait() }) // a second Wait fails, which is fine here
	return r, func() {
		t.Helper()
		line, err := bufio.NewReader(stdout).ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(line, &r.Ready); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTwoControlPlanesRunSideBySide(t *testing.T) {
	begun := time.Now()
	first, firstReady := startControlPlane(t)
	second, secondReady := startControlPlane(t)
	firstReady()
	secondReady()
	t.Logf("both ready after %s", time.Since(begun))

	one, two := clientOf(t, first.Kubeconfig), clientOf(t, second.Kubeconfig)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "only-in-one"}}
	if _, err := one.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := two.CoreV1().Namespaces().Get(t.Context(), namespace.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the other control plane says %v", err)
	}

	t.Run("rights follow RBAC, for service accounts with their tokens", func(t *testing.T) { tokensWork(t, one, first.Kubeconfig) })
	t.Run("deleted namespaces go away", func(t *testing.T) {
		if err := one.CoreV1().Namespaces().Delete(t.Context(), namespace.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "the namespace is gone", func(ctx context.Context) error {
			_, err := one.CoreV1().Namespaces().Get(ctx, namespace.Name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return errors.Join(errors.New("still there"), err)
		})
	})
	t.Run("requests are in the audit log", func(t *testing.T) {
		log, err := os.ReadFile(first.AuditLog)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(log), `"name":"only-in-one"`) {
			t.Error("the namespace's creation is missing")
		}
	})
	t.Run("keys are for their owner only", func(t *testing.T) { keysArePrivate(t, first.dir) })
	t.Run("closing its input ends it with its children", func(t *testing.T) {
		first.stdin.Close()
		if err := first.cmd.Wait(); err != nil {
			t.Errorf("ended with %v", err)
		}
		if left := processesMentioning(t, first.dir); len(left) > 0 {
			t.Errorf("still running: %v", left)
		}
	})
	t.Run("killed, it takes its children with it", func(t *testing.T) {
		if err := second.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "its children are gone", func(context.Context) error {
			if left := processesMentioning(t, second.dir+"/"); len(left) > 0 {
				return errors.New(strings.Join(left, "; "))
			}
			return nil
		})
	})
}

// tokensWork asks for a token of a service account and uses it.
func tokensWork(t *testing.T, admin kubernetes.Interface, kubeconfig string) {
	token, err := admin.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default",
		&authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.CertData, config.KeyData = nil, nil
	config.BearerToken = token.Status.Token
	account, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	self, err := account.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || self.Status.UserInfo.Username != "system:serviceaccount:default:default" {
		t.Errorf("the token is of %v (%v)", self, err)
	}
	if _, err := account.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a service account without rights lists Secrets: %v", err)
	}
}

func keysArePrivate(t *testing.T, dir string) {
	for _, pattern := range []string{"kubeconfig", "*.kubeconfig", "pki/*.key", "pki/*/*.key"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(paths) == 0 {
			t.Errorf("nothing matches %s (%v)", pattern, err)
		}
		for _, path := range paths {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v (%v)", path, info.Mode(), err)
			}
		}
	}
}

// processesMentioning lists the command lines that contain a text.
func processesMentioning(t *testing.T, text string) []string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // ended in between
		}
		if line := strings.ReplaceAll(string(data), "\x00", " "); strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}
