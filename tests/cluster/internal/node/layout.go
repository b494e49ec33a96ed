// Package node runs a Kubernetes of one node on a bare Linux machine: in one
// network namespace without a way out of the machine, in one mount namespace
// where everything that Kubernetes writes to fixed paths lands in the state
// folder, and in one cgroup by which all of it is found again.
package node

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
)

// Layout says where everything of a node is. All of it follows from the name
// and the state folder, so that a node can be taken down after any accident.
type Layout struct {
	Name string
	// Dir is the state folder, absolute.
	Dir string
}

// maxName leaves room in the paths of sockets and in the node's name.
const maxName = 30

var namePattern = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)

// NewLayout checks the name and makes the folder's path absolute.
func NewLayout(name, dir string) (Layout, error) {
	if len(name) > maxName || !namePattern.MatchString(name) {
		return Layout{}, fmt.Errorf("node name %q: use at most %d lower-case letters, digits and hyphens, beginning with a letter", name, maxName)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Layout{}, err
	}
	return Layout{Name: name, Dir: dir}, nil
}

// RunDir is a small tmpfs: short paths for sockets, gone after a reboot.
func (l Layout) RunDir() string { return "/run/" + l.full() }

// State is another path to Dir, short, and the same in the node's mount
// namespace, where Dir itself may be hidden.
func (l Layout) State() string { return filepath.Join(l.RunDir(), "state") }

// Cgroup is the path of the node's cgroup in every hierarchy.
func (l Layout) Cgroup() string { return "/" + l.full() }

// Link is the host's end of the cable to the node, a name of at most 15 bytes.
func (l Layout) Link() string {
	sum := sha256.Sum256([]byte(l.Name))
	return "tenantry" + hex.EncodeToString(sum[:])[:6]
}

// Kubeconfig makes its reader the cluster's administrator.
func (l Layout) Kubeconfig() string { return filepath.Join(l.Dir, "kubeconfig") }

// Forwards is where the node looks for what to forward.
func (l Layout) Forwards() string { return filepath.Join(l.Dir, "forwards.json") }

// LogDir has one file for each part, and supervisor.log.
func (l Layout) LogDir() string { return filepath.Join(l.Dir, "logs") }

func (l Layout) full() string             { return "tenantry-" + l.Name }
func (l Layout) networkPin() string       { return filepath.Join(l.RunDir(), "net") }
func (l Layout) mountPin() string         { return filepath.Join(l.RunDir(), "mnt") }
func (l Layout) ownerFile() string        { return filepath.Join(l.RunDir(), "owner") }
func (l Layout) containerdSocket() string { return filepath.Join(l.RunDir(), "containerd.sock") }
func (l Layout) policySocket() string     { return filepath.Join(l.RunDir(), "network-policy.sock") }
func (l Layout) recordFile() string       { return filepath.Join(l.Dir, "node.json") }
func (l Layout) statusFile() string       { return filepath.Join(l.Dir, "status.json") }
func (l Layout) eventsFile() string       { return filepath.Join(l.Dir, "events.jsonl") }
func (l Layout) lockFile() string         { return filepath.Join(l.Dir, "lock") }
