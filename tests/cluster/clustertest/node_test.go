//go:build node

package clustertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"tenantry.dev/tests/cluster/internal/node"
)

// testNode has a name of its own, beside any other node of the machine.
const testNode = "leavesnothing"

func cluster(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), err
}

func up(t *testing.T, dir string) {
	t.Helper()
	begun := time.Now()
	output, err := cluster(t, "node", "up", "--state", dir, "--name", testNode)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(output, `"event":"ready","part":"node"`) {
		t.Fatalf("up said: %s", output)
	}
	t.Logf("up after %s", time.Since(begun))
}

func down(t *testing.T, dir string) {
	t.Helper()
	begun := time.Now()
	if _, err := cluster(t, "node", "down", "--state", dir, "--name", testNode); err != nil {
		t.Fatal(err)
	}
	t.Logf("down after %s", time.Since(begun))
}

func statusOf(t *testing.T, dir string) node.Status {
	t.Helper()
	output, err := cluster(t, "node", "status", "--state", dir, "--output", "json")
	if err != nil {
		t.Fatal(err)
	}
	var status node.Status
	if err := json.Unmarshal([]byte(output), &status); err != nil {
		t.Fatal(err)
	}
	return status
}

// TestNodeLeavesNothingBehind takes a node through its life with accidents,
// and compares the machine before and after.
func TestNodeLeavesNothingBehind(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root")
	}
	dir := t.TempDir()
	t.Cleanup(func() { down(t, dir) })
	before := lookAtMachine(t)

	up(t, dir)
	client := clientOf(t, filepath.Join(dir, "kubeconfig"))
	t.Run("a pod writes to a volume as an ordinary user", func(t *testing.T) { volumesWork(t, client) })
	t.Run("a Service is reached from the host and through a forward", func(t *testing.T) { servicesWork(t, client, dir) })
	t.Run("a pod reaches what policies allow, and what it had opened is cut", func(t *testing.T) { policiesWork(t, client) })
	t.Run("a second up changes nothing", func(t *testing.T) {
		first := statusOf(t, dir)
		up(t, dir)
		if second := statusOf(t, dir); second.Supervisor != first.Supervisor {
			t.Error("another supervisor took over")
		}
	})
	t.Run("a part that is killed comes back", func(t *testing.T) { partsComeBack(t, dir) })
	t.Run("everything killed, the cluster comes back with its contents", func(t *testing.T) {
		killEverything(t)
		up(t, dir)
		if _, err := client.CoreV1().PersistentVolumeClaims("default").Get(t.Context(), "data", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
		podReady(t, client, "writer")
	})
	t.Run("the supervisor killed, down still finds everything", func(t *testing.T) {
		if err := syscall.Kill(statusOf(t, dir).Supervisor.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		down(t, dir)
		before.compare(t, lookAtMachine(t))
	})
	t.Run("down again does nothing", func(t *testing.T) { down(t, dir) })
	t.Run("killed while it starts, it leaves nothing either", func(t *testing.T) {
		killedWhileStarting(t, dir)
		down(t, dir)
		before.compare(t, lookAtMachine(t))
	})
}

func volumesWork(t *testing.T, client kubernetes.Interface) {
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceStorage: resource.MustParse("1Gi"),
			}},
		},
	}
	if _, err := client.CoreV1().PersistentVolumeClaims("default").Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	user, group := int64(10001), int64(10002)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "writer"},
		Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{RunAsUser: &user, FSGroup: &group},
			Containers: []corev1.Container{{
				Name: "writer", Image: corednsImage(t, client),
				// etcd is the only part that writes and does not need a cluster.
				Command:      []string{"/tenantry-cluster", "etcd", "--data-dir=/data/etcd"},
				VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}},
				ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, TimeoutSeconds: 10, ProbeHandler: corev1.ProbeHandler{
					Exec: &corev1.ExecAction{Command: []string{"/tenantry-cluster", "etcd", "--version"}},
				}},
			}},
			Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
			}}},
		},
	}
	eventually(t, 20*time.Second, "a pod can be made", func(ctx context.Context) error {
		_, err := client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
		return err
	})
	podReady(t, client, "writer")
}

// corednsImage is the one image that every node has with a program in it.
func corednsImage(t *testing.T, client kubernetes.Interface) string {
	t.Helper()
	deployment, err := client.AppsV1().Deployments("kube-system").Get(t.Context(), "coredns", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return deployment.Spec.Template.Spec.Containers[0].Image
}

func podReady(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	eventually(t, time.Minute, "the pod "+name+" is ready", func(ctx context.Context) error {
		pod, err := client.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, status := range pod.Status.ContainerStatuses {
			if status.Ready {
				return nil
			}
		}
		return fmt.Errorf("%+v", pod.Status.ContainerStatuses)
	})
}

// servicesWork asks CoreDNS's pod for its health, in two ways.
func servicesWork(t *testing.T, client kubernetes.Interface, dir string) {
	service, err := client.CoreV1().Services("kube-system").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "health"},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"k8s-app": "kube-dns"},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	listen := freeAddress(t)
	rules := fmt.Sprintf(`[{"listen":%q,"namespace":"kube-system","service":"health","port":80}]`, listen)
	if err := os.WriteFile(filepath.Join(dir, "forwards.json"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	answers := func(address string) {
		t.Helper()
		eventually(t, 20*time.Second, address+" answers", func(ctx context.Context) error { return askHealth(ctx, address) })
	}
	answers(service.Spec.ClusterIP)
	answers(listen)

	// A roll-out replaces the pod that the forward leads to.
	deployments := client.AppsV1().Deployments("kube-system")
	patch := `{"spec":{"template":{"metadata":{"annotations":{"rolled":"out"}}}}}`
	rolled, err := deployments.Patch(t.Context(), "coredns", "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the roll-out is over", func(ctx context.Context) error {
		current, err := deployments.Get(ctx, "coredns", metav1.GetOptions{})
		if err == nil && !rolledOut(current, rolled.Generation) {
			err = fmt.Errorf("%+v", current.Status)
		}
		return err
	})
	answers(listen)
}

func rolledOut(d *appsv1.Deployment, generation int64) bool {
	return d.Status.ObservedGeneration >= generation && d.Status.UpdatedReplicas == 1 && d.Status.Replicas == 1 && d.Status.AvailableReplicas == 1
}

func askHealth(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/health", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && string(body) != "OK" {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return err
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// partsComeBack kills one part after the other.
func partsComeBack(t *testing.T, dir string) {
	for _, part := range statusOf(t, dir).Parts {
		if err := syscall.Kill(part.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, part.Name+" was started again", func(context.Context) error {
			for _, now := range statusOf(t, dir).Parts {
				if now.Name == part.Name && (now.Restarts != part.Restarts+1 || now.State != "running") {
					return fmt.Errorf("%+v", now)
				}
			}
			return nil
		})
		up(t, dir)
	}
}

// killEverything does to the node's processes what a reboot does.
func killEverything(t *testing.T) {
	t.Helper()
	eventually(t, 20*time.Second, "everything is dead", func(context.Context) error {
		pids := nodeProcesses(t)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be dead already
		}
		if len(pids) > 0 {
			return fmt.Errorf("processes %v", pids)
		}
		return nil
	})
}

// killedWhileStarting kills both `node up` and the supervisor halfway.
func killedWhileStarting(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "node", "up", "--state", dir, "--name", testNode)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the API server is being started", func(context.Context) error {
		for _, part := range statusOf(t, dir).Parts {
			if part.Name == "kube-apiserver" {
				return nil
			}
		}
		return errors.New("not yet")
	})
	supervisor := statusOf(t, dir).Supervisor.PID
	if err := errors.Join(cmd.Process.Kill(), syscall.Kill(supervisor, syscall.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
}
