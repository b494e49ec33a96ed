package forward

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// syncTimeout is how long a connection waits for the first list of a namespace.
const syncTimeout = 10 * time.Second

// target is a port of a pod.
type target struct {
	namespace string
	pod       string
	uid       string
	port      int32
}

// endpoints watches Services and their endpoints, namespace by namespace, so
// that a connection costs no request.
type endpoints struct {
	ctx    context.Context
	client kubernetes.Interface

	mu        sync.Mutex
	factories map[string]informers.SharedInformerFactory
}

func newEndpoints(ctx context.Context, client kubernetes.Interface) *endpoints {
	return &endpoints{ctx: ctx, client: client, factories: map[string]informers.SharedInformerFactory{}}
}

// watch begins to watch a namespace, if it is not watched yet.
func (e *endpoints) watch(namespace string) informers.SharedInformerFactory {
	e.mu.Lock()
	defer e.mu.Unlock()
	if factory := e.factories[namespace]; factory != nil {
		return factory
	}
	factory := informers.NewSharedInformerFactoryWithOptions(e.client, 0, informers.WithNamespace(namespace))
	// Asking for an informer is what makes the factory start it.
	factory.Core().V1().Services().Informer()
	factory.Discovery().V1().EndpointSlices().Informer()
	factory.Start(e.ctx.Done())
	e.factories[namespace] = factory
	return factory
}

// ready gives the pods that are ready behind a rule's Service, in a random
// order. None is an error.
func (e *endpoints) ready(ctx context.Context, rule Rule) ([]target, error) {
	factory := e.watch(rule.Namespace)
	services, slices := factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices()
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if !cache.WaitForCacheSync(ctx.Done(), services.Informer().HasSynced, slices.Informer().HasSynced) {
		return nil, fmt.Errorf("Services of namespace %s cannot be listed", rule.Namespace)
	}
	service, err := services.Lister().Services(rule.Namespace).Get(rule.Service)
	if err != nil {
		return nil, err
	}
	selector := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: rule.Service})
	found, err := slices.Lister().EndpointSlices(rule.Namespace).List(selector)
	if err != nil {
		return nil, err
	}
	return readyTargets(rule, service, found)
}

// readyTargets picks the ready endpoints that are pods.
func readyTargets(rule Rule, service *corev1.Service, slices []*discoveryv1.EndpointSlice) ([]target, error) {
	name, found := "", false
	for _, port := range service.Spec.Ports {
		if port.Port == rule.Port {
			name, found = port.Name, true
		}
	}
	if !found {
		return nil, fmt.Errorf("service %s/%s has no port %d", rule.Namespace, rule.Service, rule.Port)
	}
	seen := map[string]bool{}
	var targets []target
	for _, slice := range slices {
		for _, port := range slice.Ports {
			if port.Port == nil || deref(port.Name) != name {
				continue
			}
			for _, endpoint := range slice.Endpoints {
				ready := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
				if pod := endpoint.TargetRef; ready && pod != nil && pod.Kind == "Pod" && !seen[pod.Name] {
					seen[pod.Name] = true
					targets = append(targets, target{rule.Namespace, pod.Name, string(pod.UID), *port.Port})
				}
			}
		}
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("service %s/%s has no pod that is ready", rule.Namespace, rule.Service)
	}
	rand.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
	return targets, nil
}

func deref(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}
