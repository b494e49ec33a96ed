package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"tenantry.dev/tests/cluster/internal/images"
	"tenantry.dev/tests/cluster/internal/supervise"
)

// The states of a node.
const (
	StateStarting = "starting"
	StateReady    = "ready"
	StateFailed   = "failed"
	StateStopped  = "stopped"
)

// Status is what a node's supervisor writes down of itself, and `node status`
// shows.
type Status struct {
	Name       string            `json:"name"`
	State      string            `json:"state"`
	Since      time.Time         `json:"since"`
	Supervisor supervise.Process `json:"supervisor"`
	Kubeconfig string            `json:"kubeconfig"`
	// Failure is why the state is `failed`.
	Failure string                 `json:"failure,omitempty"`
	Parts   []supervise.PartStatus `json:"parts"`
}

// ReadStatus gives a node's status. What a supervisor wrote that is no more is
// not believed: everything is stopped then.
func ReadStatus(l Layout) (Status, error) {
	data, err := os.ReadFile(l.statusFile())
	if errors.Is(err, fs.ErrNotExist) {
		return Status{Name: l.Name, State: StateStopped, Kubeconfig: l.Kubeconfig(), Parts: []supervise.PartStatus{}}, nil
	} else if err != nil {
		return Status{}, err
	}
	var status Status
	if err := json.Unmarshal(data, &status); err != nil {
		return Status{}, fmt.Errorf("%s: %w", l.statusFile(), err)
	}
	if !status.Supervisor.Alive() {
		if status.State != StateFailed {
			status.State = StateStopped
		}
		for i := range status.Parts {
			status.Parts[i].State, status.Parts[i].Process = supervise.Stopped, supervise.Process{}
		}
	}
	return status, nil
}

// Running tells whether the supervisor lives.
func (s Status) Running() bool { return s.Supervisor.Alive() }

// Containerd gives the containerd of the running node of a state folder.
func Containerd(dir string) (images.Containerd, error) {
	l, err := LayoutOf(dir, "")
	if err != nil {
		return images.Containerd{}, err
	}
	if _, err := os.Stat(l.containerdSocket()); err != nil {
		return images.Containerd{}, fmt.Errorf("the node in %s does not run", dir)
	}
	return images.Containerd{Socket: l.containerdSocket()}, nil
}

// DefaultName is for state folders that do not say another.
const DefaultName = "local"

// LayoutOf gives the layout of a state folder: with the name given, or else
// the one that the folder remembers, or else the default.
func LayoutOf(dir, name string) (Layout, error) {
	if name == "" {
		name = DefaultName
		l, err := NewLayout(name, dir)
		if err != nil {
			return Layout{}, err
		}
		recorded, err := readRecord(l)
		if err == nil {
			name = recorded.Name
		} else if !errors.Is(err, fs.ErrNotExist) {
			return Layout{}, err
		}
	}
	return NewLayout(name, dir)
}

// statusWriter keeps the status file up to date.
type statusWriter struct {
	path   string
	mu     sync.Mutex
	status Status
}

func newStatusWriter(l Layout) (*statusWriter, error) {
	self, err := supervise.Identify(os.Getpid())
	if err != nil {
		return nil, err
	}
	w := &statusWriter{path: l.statusFile(), status: Status{
		Name: l.Name, State: StateStarting, Since: time.Now(), Supervisor: self,
		Kubeconfig: l.Kubeconfig(), Parts: []supervise.PartStatus{},
	}}
	return w, writeJSON(w.path, w.status)
}

func (w *statusWriter) parts(parts []supervise.PartStatus) {
	w.change(func(status *Status) { status.Parts = parts })
}

func (w *statusWriter) state(state string, reason error) {
	w.change(func(status *Status) {
		status.State, status.Since = state, time.Now()
		if reason != nil {
			status.Failure = reason.Error()
		}
	})
}

func (w *statusWriter) change(change func(*Status)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.status)
	if err := writeJSON(w.path, w.status); err != nil {
		fmt.Fprintln(os.Stderr, "status:", err)
	}
}
