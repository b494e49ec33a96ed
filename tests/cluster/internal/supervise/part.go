// Package supervise keeps the parts of a cluster running: it starts them,
// restarts with growing delays what dies, gives up on what keeps dying, and
// says of each part what it is doing.
package supervise

import (
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Part is one long-running process.
type Part struct {
	Name string
	// Program is a path; empty means this very binary, which finds by the name
	// it is called with which part to be.
	Program string
	Args    []string
	// Env is added to the supervisor's own environment.
	Env []string
	// Spawner decides the namespaces.
	Spawner *Spawner
	// Grace is how long the part may take from SIGTERM to its end.
	Grace time.Duration
}

const defaultGrace = 3 * time.Second

func (p Part) command() *exec.Cmd {
	if p.Program == "" {
		// Not the binary's path: that may be hidden in the part's mount
		// namespace, or replaced by a newer build.
		return &exec.Cmd{Path: "/proc/self/exe", Args: append([]string{p.Name}, p.Args...), Dir: "/"}
	}
	return &exec.Cmd{Path: p.Program, Args: append([]string{p.Program}, p.Args...), Dir: "/"}
}

func (p Part) grace() time.Duration {
	if p.Grace == 0 {
		return defaultGrace
	}
	return p.Grace
}

// State is what a part is doing.
type State string

// The states of a part.
const (
	Running State = "running"
	Waiting State = "waiting" // died, to be started again
	Failed  State = "failed"  // died too often
	Stopped State = "stopped" // on purpose
)

// PartStatus is what is known of a part.
type PartStatus struct {
	Name string `json:"name"`
	Process
	State    State     `json:"state"`
	Restarts int       `json:"restarts"`
	Since    time.Time `json:"since"`
	// LastExit says how the part last ended, empty if it never did.
	LastExit string `json:"lastExit,omitempty"`
}

// Failure is a part that could not be kept up.
type Failure struct {
	Part    string   `json:"part"`
	Message string   `json:"message"`
	Log     []string `json:"log"`
}

func (f *Failure) Error() string {
	text := fmt.Sprintf("%s: %s", f.Part, f.Message)
	if len(f.Log) > 0 {
		text += "; its log ends with:\n  " + strings.Join(f.Log, "\n  ")
	}
	return text
}
