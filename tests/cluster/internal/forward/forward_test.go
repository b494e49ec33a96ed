package forward

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func pointer[T any](value T) *T { return &value }

func endpoint(pod string, ready bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{
		Conditions: discoveryv1.EndpointConditions{Ready: pointer(ready)},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Name: pod},
	}
}

var (
	rule    = Rule{Listen: "127.0.0.1:1", Namespace: "shop", Service: "campaigns", Port: 80}
	service = &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "metrics", Port: 81}, {Name: "http", Port: 80}}}}
)

func TestOnlyReadyPodsAreForwardedToAtThePortThatTheServiceNames(t *testing.T) {
	slice := &discoveryv1.EndpointSlice{
		Ports: []discoveryv1.EndpointPort{
			{Name: pointer("metrics"), Port: pointer(int32(9000))}, {Name: pointer("http"), Port: pointer(int32(8080))},
		},
		Endpoints: []discoveryv1.Endpoint{endpoint("old", false), endpoint("a", true), endpoint("b", true)},
	}
	targets, err := readyTargets(rule, service, []*discoveryv1.EndpointSlice{slice, slice})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, target := range targets {
		if target.port != 8080 {
			t.Errorf("pod %s at port %d", target.pod, target.port)
		}
		found = append(found, target.pod)
	}
	slices.Sort(found)
	if !slices.Equal(found, []string{"a", "b"}) {
		t.Errorf("pods %v", found)
	}
}

func TestWithoutAReadyPodOrThePortTheErrorSaysSo(t *testing.T) {
	if _, err := readyTargets(rule, service, nil); err == nil || !strings.Contains(err.Error(), "no pod that is ready") {
		t.Errorf("got %v", err)
	}
	other := rule
	other.Port = 82
	if _, err := readyTargets(other, service, nil); err == nil || !strings.Contains(err.Error(), "no port 82") {
		t.Errorf("got %v", err)
	}
}

func TestRulesAreChecked(t *testing.T) {
	for _, test := range []struct{ name, json, want string }{
		{"not a list", `{}`, "cannot unmarshal"},
		{"an unknown key", `[{"listen":"127.0.0.1:1","namespace":"n","service":"s","prot":1}]`, "prot"},
		{"no port to listen on", `[{"listen":"127.0.0.1","namespace":"n","service":"s","port":1}]`, "HOST:PORT"},
		{"no service", `[{"listen":"127.0.0.1:1","namespace":"n","port":1}]`, "service"},
		{"an address twice", `[{"listen":"127.0.0.1:1","namespace":"n","service":"s","port":1},
			{"listen":"127.0.0.1:1","namespace":"n","service":"t","port":1}]`, "already"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "forwards.json")
			if err := os.WriteFile(path, []byte(test.json), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := ReadRules(path); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAMissingFileHasNoRules(t *testing.T) {
	rules, err := ReadRules(filepath.Join(t.TempDir(), "missing.json"))
	if err != nil || len(rules) != 0 {
		t.Errorf("got %v (%v)", rules, err)
	}
}
