package controlplane

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"

	"tenantry.dev/tests/cluster/internal/supervise"
)

// Ready is what a control plane without a node says of itself when it can be
// used.
type Ready struct {
	Event      string `json:"event"`
	Kubeconfig string `json:"kubeconfig"`
	Server     string `json:"server"`
	// AuditLog is empty unless asked for.
	AuditLog string `json:"auditLog"`
}

// RunOptions is what differs between control planes without a node.
type RunOptions struct {
	// Dir holds everything; made if missing.
	Dir string
	// Audit writes every request's metadata to a log in Dir.
	Audit bool
	// WithoutControllers are left out of the controller manager.
	WithoutControllers []string
}

// Run runs etcd, the API server and the controller manager on free ports of
// loopback until the context ends or a part cannot be kept up.
func Run(ctx context.Context, options RunOptions, onReady func(Ready)) error {
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return err
	}
	ports, err := FreePorts()
	if err != nil {
		return err
	}
	spawner, err := supervise.NewSpawner(nil)
	if err != nil {
		return err
	}
	c, err := Prepare(Config{
		Name:        "control-plane",
		Dir:         dir,
		Address:     netip.MustParseAddr(loopback),
		Ports:       ports,
		ServiceCIDR: netip.MustParsePrefix("10.0.0.0/16"),
		Audit:       options.Audit,
		Spawner:     spawner,

		WithoutControllers: options.WithoutControllers,
	})
	if err != nil {
		return err
	}
	logs := filepath.Join(dir, "logs")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return err
	}
	supervisor := supervise.New(logs, supervise.DefaultPolicy, nil)
	defer supervisor.Stop()
	start := func(ctx context.Context, part supervise.Part, ready func(context.Context) error) error {
		if err := supervisor.Start(part); err != nil {
			return err
		}
		return supervisor.WaitReady(ctx, part.Name, ready)
	}
	if err := c.Start(ctx, start); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while starting
		}
		return err
	}
	ready := Ready{Event: "ready", Kubeconfig: c.Kubeconfig(), Server: c.Server()}
	if options.Audit {
		ready.AuditLog = c.AuditLog()
	}
	onReady(ready)
	select {
	case <-ctx.Done():
		return nil
	case <-supervisor.Failed():
		return supervisor.Failure()
	}
}

// Starter starts a part and returns when it is ready.
type Starter func(ctx context.Context, part supervise.Part, ready func(context.Context) error) error

// Start starts etcd, the API server and the controller manager, each as soon
// as what it needs is there, and returns when they work.
func (c *ControlPlane) Start(ctx context.Context, start Starter) error {
	client, err := Client(c.Kubeconfig())
	if err != nil {
		return err
	}
	if err := start(ctx, c.Etcd(), c.EtcdListens); err != nil {
		return err
	}
	if err := start(ctx, c.APIServer(), APIServerReady(client)); err != nil {
		return err
	}
	return start(ctx, c.ControllerManager(), ControllersWork(client))
}
