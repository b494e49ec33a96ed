// Package policy enforces NetworkPolicies on the node: it watches them with
// pods and namespaces, compiles them into a model without selectors, and
// writes that as one table of nftables, by one transaction for each change.
package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/knftables"
)

const (
	// settle is how long changes are gathered that come at once.
	settle = 30 * time.Millisecond
	// retryInterval is when what failed is tried again.
	retryInterval = time.Second
	// strictTracking keeps the kernel from taking the middle of a connection,
	// whose beginning nobody judged, for its beginning. It is the network
	// namespace's own.
	strictTracking = "/proc/sys/net/netfilter/nf_conntrack_tcp_loose"
)

// Unenforced is what the names of namespaces begin with whose policies the
// agent does not heed. There the network is as one without an agent, for tests
// of what has to notice that.
const Unenforced = "unenforced-"

// Agent enforces policies in the network namespace that it runs in.
type Agent struct {
	network Network
	nft     knftables.Interface

	namespaces corelisters.NamespaceLister
	pods       corelisters.PodLister
	policies   networkinglisters.NetworkPolicyLister
	factory    informers.SharedInformerFactory
	changed    chan struct{}
	attached   *attachments
	// socket is where the network plugin is listened to; empty for nowhere.
	socket string

	// present is what was written last; nil when that is not known.
	present *table
}

// New prepares an agent.
func New(client kubernetes.Interface, network Network) (*Agent, error) {
	nft, err := knftables.New(knftables.InetFamily, tableName, knftables.NoObjectCommentEmulation)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	a := &Agent{
		network: network, nft: nft, factory: factory, changed: make(chan struct{}, 1),
		attached:   newAttachments(),
		namespaces: factory.Core().V1().Namespaces().Lister(),
		pods:       factory.Core().V1().Pods().Lister(),
		policies:   factory.Networking().V1().NetworkPolicies().Lister(),
	}
	notice := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { a.wake() },
		UpdateFunc: func(any, any) { a.wake() },
		DeleteFunc: func(any) { a.wake() },
	}
	for _, informer := range []cache.SharedIndexInformer{
		factory.Core().V1().Namespaces().Informer(),
		factory.Core().V1().Pods().Informer(),
		factory.Networking().V1().NetworkPolicies().Informer(),
	} {
		if _, err := informer.AddEventHandler(notice); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Run enforces until the context ends. What it wrote stays then, and a further
// agent replaces it in one step.
func (a *Agent) Run(ctx context.Context) error {
	if err := os.WriteFile(strictTracking, []byte("0"), 0o644); err != nil {
		return fmt.Errorf("make the kernel track connections strictly: %w", err)
	}
	a.factory.Start(ctx.Done())
	defer a.factory.Shutdown()
	a.factory.WaitForCacheSync(ctx.Done())
	a.wake()
	listening := a.socket == ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.changed:
		}
		if !sleep(ctx, settle) {
			return nil
		}
		if err := a.enforce(ctx); err != nil && ctx.Err() == nil {
			slog.Error("network policies", "error", err)
			if !sleep(ctx, retryInterval) {
				return nil
			}
			a.wake()
		} else if !listening {
			if err := a.listen(ctx); err != nil {
				return err
			}
			listening = true
		}
	}
}

func (a *Agent) wake() {
	select {
	case a.changed <- struct{}{}:
	default: // it is awake already
	}
}

// enforce writes what the policies now come to.
func (a *Agent) enforce(ctx context.Context) error {
	cluster, err := a.observe()
	if err != nil {
		return err
	}
	known := make(map[netip.Addr]types.UID)
	for address, pod := range cluster.addresses() {
		known[address] = pod.UID
	}
	wanted := render(a.network, Compile(cluster))
	tx := replace(a.nft, wanted)
	if a.present != nil {
		tx = change(a.nft, *a.present, wanted)
	}
	if tx.NumOperations() == 0 {
		a.attached.wrote(known)
		return nil
	}
	// Until it is known to have gone well, nothing is known.
	a.present = nil
	if err := a.nft.Run(ctx, tx); err != nil {
		return err
	}
	a.present = &wanted
	a.attached.wrote(known)
	slog.Info("enforced", "pods", len(cluster.Pods), "policies", len(cluster.Policies), "operations", tx.NumOperations())
	return nil
}

func (a *Agent) observe() (*Cluster, error) {
	namespaces, first := a.namespaces.List(labels.Everything())
	pods, second := a.pods.List(labels.Everything())
	policies, third := a.policies.List(labels.Everything())
	policies = slices.DeleteFunc(policies, func(policy *networkingv1.NetworkPolicy) bool {
		return strings.HasPrefix(policy.Namespace, Unenforced)
	})
	return &Cluster{Namespaces: namespaces, Pods: pods, Policies: policies, Attached: a.attached.addresses()},
		errors.Join(first, second, third)
}

func sleep(ctx context.Context, duration time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(duration):
		return true
	}
}
