package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// attachTimeout is how long a pod's start waits for its rules.
const attachTimeout = 20 * time.Second

// attachment is a pod's sandbox that has just got an address, or lost it: what
// the network plugin says to the agent.
type attachment struct {
	Sandbox string     `json:"sandbox"`
	Pod     types.UID  `json:"pod,omitempty"`
	Address netip.Addr `json:"address,omitzero"`
	Removed bool       `json:"removed,omitempty"`
}

// answer is what the agent says: an empty one that all is well.
type answer struct {
	Error string `json:"error,omitempty"`
}

// attachments are what the network plugin told since the agent started.
type attachments struct {
	mu    sync.Mutex
	byPod map[types.UID]attachment
	// enforced are the addresses of pods in what was written last; another is
	// made, and this channel closed, each time.
	enforced map[netip.Addr]types.UID
	written  chan struct{}
}

func newAttachments() *attachments {
	return &attachments{byPod: map[types.UID]attachment{}, written: make(chan struct{})}
}

func (a *attachments) add(one attachment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.byPod[one.Pod] = one
}

func (a *attachments) remove(sandbox string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for pod, one := range a.byPod {
		if one.Sandbox == sandbox {
			delete(a.byPod, pod)
		}
	}
}

func (a *attachments) addresses() map[types.UID]netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	addresses := make(map[types.UID]netip.Addr, len(a.byPod))
	for pod, one := range a.byPod {
		addresses[pod] = one.Address
	}
	return addresses
}

// wrote lets those go on whose pods are among these.
func (a *attachments) wrote(enforced map[netip.Addr]types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.enforced = enforced
	close(a.written)
	a.written = make(chan struct{})
}

// wait returns when a pod's rules are in force.
func (a *attachments) wait(ctx context.Context, one attachment) error {
	for {
		a.mu.Lock()
		done, next := a.enforced[one.Address] == one.Pod, a.written
		a.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the pod %s at %s is not known to the API server's watchers: %w", one.Pod, one.Address, ctx.Err())
		case <-next:
		}
	}
}

// ListenAt makes the agent, once it enforces, answer the network plugin on a
// socket: a pod starts when its rules are in force.
func (a *Agent) ListenAt(socket string) { a.socket = socket }

// listen answers until the context ends.
func (a *Agent) listen(ctx context.Context) error {
	// A predecessor that was killed left it behind.
	if err := os.Remove(a.socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", a.socket)
	if err != nil {
		return fmt.Errorf("listen for the network plugin: %w", err)
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // closed above
			}
			go a.answer(ctx, connection)
		}
	}()
	return nil
}

func (a *Agent) answer(ctx context.Context, connection net.Conn) {
	defer connection.Close()
	ctx, cancel := context.WithTimeout(ctx, attachTimeout)
	defer cancel()
	if deadline, ok := ctx.Deadline(); ok && connection.SetDeadline(deadline.Add(time.Second)) != nil {
		return
	}
	var told attachment
	var reply answer
	if err := json.NewDecoder(connection).Decode(&told); errors.Is(err, net.ErrClosed) {
		return
	} else if err != nil {
		reply.Error = err.Error()
	} else if err := a.attach(ctx, told); err != nil {
		reply.Error = err.Error()
	}
	// Who does not wait for the answer has given up.
	_ = json.NewEncoder(connection).Encode(reply)
}

func (a *Agent) attach(ctx context.Context, told attachment) error {
	if told.Removed {
		a.attached.remove(told.Sandbox)
		a.wake()
		return nil
	}
	a.attached.add(told)
	a.wake()
	return a.attached.wait(ctx, told)
}
