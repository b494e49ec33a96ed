package node

import (
	"encoding/json"
	"io"
	"sync"
)

// The events that a node tells of while it starts.
const (
	EventStarting = "starting"
	EventReady    = "ready"
	EventFailed   = "failed"
)

// wholeNode stands as the part in the last event: everything is ready.
const wholeNode = "node"

// Event is one step of starting, a line of JSON for whoever waits.
type Event struct {
	Event   string `json:"event"`
	Part    string `json:"part"`
	Message string `json:"message,omitempty"`
	// Kubeconfig comes with the last event, when everything is ready.
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// Log has the last lines of a part that failed.
	Log []string `json:"log,omitempty"`
}

// last tells whether nothing follows.
func (e Event) last() bool {
	return e.Event == EventFailed || (e.Event == EventReady && e.Part == wholeNode)
}

// eventWriter writes events, one line each, from any goroutine.
type eventWriter struct {
	mu  sync.Mutex
	out io.Writer
}

func (w *eventWriter) write(event Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Nobody may be listening any more, which changes nothing for the node.
	_ = json.NewEncoder(w.out).Encode(event)
}
