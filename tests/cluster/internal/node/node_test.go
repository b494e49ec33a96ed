package node

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

func prefixes(texts ...string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, text := range texts {
		parsed = append(parsed, netip.MustParsePrefix(text))
	}
	return parsed
}

func TestABlockIsChosenThatNothingOnTheMachineUses(t *testing.T) {
	for _, test := range []struct {
		name string
		used []netip.Prefix
		want string
	}{
		{"nothing in use", nil, "10.96.0.0/16"},
		{"another node", prefixes("10.96.0.0/18", "10.96.255.0/30"), "10.97.0.0/16"},
		{"a default route does not count", prefixes("0.0.0.0/0"), "10.96.0.0/16"},
		{"a wide route covers several", prefixes("10.96.0.0/14"), "10.100.0.0/16"},
	} {
		t.Run(test.name, func(t *testing.T) {
			block, err := chooseBlock(test.used)
			if err != nil {
				t.Fatal(err)
			}
			if block.String() != test.want {
				t.Errorf("chose %s, want %s", block, test.want)
			}
		})
	}
}

func TestWithoutAFreeBlockTheErrorSaysWhatWasTried(t *testing.T) {
	_, err := chooseBlock(prefixes("10.0.0.0/8"))
	if err == nil || !strings.Contains(err.Error(), "10.127.0.0/16") {
		t.Errorf("got %v", err)
	}
}

func TestThePartsOfABlockDoNotOverlap(t *testing.T) {
	block := Block{netip.MustParsePrefix("10.96.0.0/16")}
	parts := []netip.Prefix{block.Pods(), block.Services(), block.Host().Masked()}
	for i, part := range parts {
		if !block.Overlaps(part) {
			t.Errorf("%s is outside of %s", part, block)
		}
		for _, other := range parts[i+1:] {
			if part.Overlaps(other) {
				t.Errorf("%s and %s overlap", part, other)
			}
		}
	}
	if !block.Services().Contains(block.DNS()) || !block.Host().Contains(block.Node().Addr()) {
		t.Error("an address is outside of its range")
	}
}

func TestABlockIsRememberedAndNotSharedAmongNames(t *testing.T) {
	first, err := NewLayout("first", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	block, err := claimBlock(first)
	if err != nil {
		t.Fatal(err)
	}
	again, err := claimBlock(first)
	if err != nil || again != block {
		t.Errorf("first %s, then %s (%v)", block, again, err)
	}
	other, err := NewLayout("other", first.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claimBlock(other); err == nil || !strings.Contains(err.Error(), `"first"`) {
		t.Errorf("another name in the same folder: %v", err)
	}
	if found, err := LayoutOf(first.Dir, ""); err != nil || found != first {
		t.Errorf("the folder says %v (%v)", found, err)
	}
}

func TestNamesThatCannotBeANodesAreRefused(t *testing.T) {
	for _, name := range []string{"", "Upper", "-a", "a-", "a/b", "a.b", strings.Repeat("a", maxName+1)} {
		if _, err := NewLayout(name, "/tmp"); err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}

func TestLongestNamesFitInWhatTheKernelAllows(t *testing.T) {
	l, err := NewLayout(strings.Repeat("a", maxName), "/tmp")
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Link()) > 15 {
		t.Errorf("link %s", l.Link())
	}
	if len(l.containerdSocket()+".ttrpc") > 107 {
		t.Errorf("socket %s", l.containerdSocket())
	}
}

func TestConfigurationFilesAreWellFormed(t *testing.T) {
	n := &nodeParts{settings: settings{PodCIDR: "10.96.0.0/18", DNSAddress: "10.96.64.10"}}
	for _, name := range []string{"kubelet.yaml", "kube-proxy.yaml", "network.conflist"} {
		content, err := n.render(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(content, &map[string]any{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAStatusOfADeadSupervisorIsNotBelieved(t *testing.T) {
	l, err := NewLayout("dead", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w, err := newStatusWriter(l)
	if err != nil {
		t.Fatal(err)
	}
	w.state(StateReady, nil)
	if status, err := ReadStatus(l); err != nil || status.State != StateReady {
		t.Errorf("while it lives: %v (%v)", status.State, err)
	}
	w.change(func(status *Status) { status.Supervisor.StartTime++ })
	if status, err := ReadStatus(l); err != nil || status.State != StateStopped {
		t.Errorf("once it is dead: %v (%v)", status.State, err)
	}
}

func TestDownKeepsOutOfFoldersThatAreNoNodes(t *testing.T) {
	l, err := NewLayout("stray", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	precious := l.Dir + "/precious"
	if err := writeJSON(precious, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := removeState(l); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error("a file of somebody else was removed")
	}
}
