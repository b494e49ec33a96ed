package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"

	"tenantry.dev/tests/cluster/internal/controlplane"
	"tenantry.dev/tests/cluster/internal/supervise"
)

// RunOptions are what a node can be started with.
type RunOptions struct {
	// Audit writes the metadata of every request to audit.log.
	Audit bool
	// Timeout is for getting ready.
	Timeout time.Duration
}

// apiServerPort is the same in every node: each has its own address.
const apiServerPort = 6443

// Run runs a node until the context ends or a part cannot be kept up. Events
// about its start are written to out. Pods outlive it: Down ends them.
func Run(ctx context.Context, l Layout, options RunOptions, out io.Writer) error {
	events := &eventWriter{out: out}
	err := run(ctx, l, options, events)
	if err == nil || ctx.Err() != nil {
		return nil
	}
	event := Event{Event: EventFailed, Part: wholeNode, Message: err.Error()}
	var failure *supervise.Failure
	if errors.As(err, &failure) {
		event.Part, event.Message, event.Log = failure.Part, failure.Message, failure.Log
	}
	events.write(event)
	return err
}

func run(ctx context.Context, l Layout, options RunOptions, events *eventWriter) error {
	t, err := findTools()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.LogDir(), 0o700); err != nil {
		return err
	}
	unlock, err := lock(l)
	if err != nil {
		return err
	}
	defer unlock()
	status, err := newStatusWriter(l)
	if err != nil {
		return err
	}
	supervisor := supervise.New(l.LogDir(), supervise.DefaultPolicy, status.parts)
	err = func() error {
		defer supervisor.Stop()
		starting, cancel := context.WithTimeoutCause(ctx, options.Timeout,
			fmt.Errorf("given up after %s", options.Timeout))
		defer cancel()
		if err := start(starting, l, t, options, supervisor, events); err != nil {
			return err
		}
		status.state(StateReady, nil)
		events.write(Event{Event: EventReady, Part: wholeNode, Kubeconfig: l.Kubeconfig()})
		select {
		case <-ctx.Done():
			return nil
		case <-supervisor.Failed():
			return supervisor.Failure()
		}
	}()
	if err != nil && ctx.Err() == nil {
		status.state(StateFailed, err)
	} else {
		status.state(StateStopped, nil)
	}
	return err
}

// start brings everything up, what does not wait for each other side by side.
func start(ctx context.Context, l Layout, t tools, options RunOptions, supervisor *supervise.Supervisor, events *eventWriter) error {
	block, spawner, err := prepareMachine(l)
	if err != nil {
		return err
	}
	host, err := supervise.NewSpawner(nil)
	if err != nil {
		return err
	}
	c, err := controlplane.Prepare(controlplane.Config{
		Name:        l.full(),
		Dir:         l.State(),
		Address:     block.Node().Addr(),
		Ports:       controlplane.Ports{APIServer: apiServerPort, EtcdClient: 2379, EtcdPeer: 2380},
		ServiceCIDR: block.Services(),
		PodCIDR:     block.Pods(),
		Audit:       options.Audit,
		Spawner:     spawner,
	})
	if err != nil {
		return err
	}
	parts, err := prepareNodeParts(l, block, t, c)
	if err != nil {
		return err
	}
	client, err := controlplane.Client(l.Kubeconfig())
	if err != nil {
		return err
	}
	b := &bringUp{supervisor: supervisor, events: events}
	side, sideCtx := errgroup.WithContext(ctx)
	side.Go(func() error { return c.Start(sideCtx, b.start) })
	side.Go(func() error {
		if err := b.start(sideCtx, parts.containerd(), answers(l.containerdSocket())); err != nil {
			return err
		}
		return b.step(sideCtx, "images", parts.loadImages)
	})
	if err := side.Wait(); err != nil {
		return err
	}
	return b.startNode(ctx, parts, c, client, host)
}

// bringUp starts parts and says so.
type bringUp struct {
	supervisor *supervise.Supervisor
	events     *eventWriter
}

func (b *bringUp) startNode(ctx context.Context, parts *nodeParts, c *controlplane.ControlPlane, client kubernetes.Interface, host *supervise.Spawner) error {
	for _, part := range []supervise.Part{c.Scheduler(), parts.kubeProxy(), parts.volumes(), parts.forward(host)} {
		if err := b.start(ctx, part, nil); err != nil {
			return err
		}
	}
	// It listens once it enforces.
	if err := b.start(ctx, parts.networkPolicy(), answers(parts.layout.policySocket())); err != nil {
		return err
	}
	name := parts.layout.Name
	side, sideCtx := errgroup.WithContext(ctx)
	side.Go(func() error { return b.start(sideCtx, parts.kubelet(), nodeReady(client, name)) })
	side.Go(func() error { return b.step(sideCtx, "addons", parts.applyAddons) })
	if err := side.Wait(); err != nil {
		return err
	}
	return b.step(ctx, "coredns", func(ctx context.Context) error {
		if err := b.supervisor.WaitReady(ctx, "coredns", podsReady(client, "kube-system", "coredns")); err != nil {
			return err
		}
		return b.supervisor.WaitReady(ctx, "coredns", namesResolve(parts.block.DNS().String()))
	})
}

// start starts a part and waits until it is ready; without a probe it is as
// soon as it runs.
func (b *bringUp) start(ctx context.Context, part supervise.Part, ready func(context.Context) error) error {
	return b.step(ctx, part.Name, func(ctx context.Context) error {
		if err := b.supervisor.Start(part); err != nil || ready == nil {
			return err
		}
		return b.supervisor.WaitReady(ctx, part.Name, ready)
	})
}

// step does something with an event before and after it.
func (b *bringUp) step(ctx context.Context, name string, do func(context.Context) error) error {
	b.events.write(Event{Event: EventStarting, Part: name})
	if err := do(ctx); err != nil {
		var failure *supervise.Failure
		if errors.As(err, &failure) {
			return err
		}
		return &supervise.Failure{Part: name, Message: err.Error()}
	}
	b.events.write(Event{Event: EventReady, Part: name})
	return nil
}

// prepareMachine makes namespaces, cgroup and cable, or comes back to those
// that are there. After everything of the node was killed it begins anew, as
// after a reboot: what is left in a run folder or in a mount namespace then
// describes processes that are no more.
func prepareMachine(l Layout) (Block, *supervise.Spawner, error) {
	group, err := findCgroup(l)
	if err != nil {
		return Block{}, nil, err
	}
	survivors, err := group.processes()
	if err != nil {
		return Block{}, nil, err
	}
	if err := checkOwner(l, len(survivors) > 0); err != nil {
		return Block{}, nil, err
	}
	if len(survivors) == 0 || !hasNamespaces(l) {
		if err := dismantle(l, group); err != nil {
			return Block{}, nil, err
		}
	}
	if err := group.create(); err != nil {
		return Block{}, nil, err
	}
	block, err := claimBlock(l)
	if err != nil {
		return Block{}, nil, err
	}
	if err := mountRunDir(l); err != nil {
		return Block{}, nil, err
	}
	spawner, err := enterNamespaces(l)
	if err != nil {
		return Block{}, nil, err
	}
	return block, spawner, connect(l, block, spawner)
}

// checkOwner refuses to touch a node of the same name that lives with another
// state folder.
func checkOwner(l Layout, alive bool) error {
	owner, err := os.ReadFile(l.ownerFile())
	if err != nil || strings.TrimSpace(string(owner)) == l.Dir || !alive {
		return nil // nobody, this one, or one that is dead
	}
	return fmt.Errorf("a node named %s runs with the state folder %s; take it down, or give this one another --name", l.Name, owner)
}

// lock makes sure that one process at a time runs the node of a state folder.
func lock(l Layout) (unlock func(), err error) {
	file, err := os.OpenFile(l.lockFile(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another process runs the node in %s", l.Dir), file.Close())
	}
	return func() { file.Close() }, nil
}
