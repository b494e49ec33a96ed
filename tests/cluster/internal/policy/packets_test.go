//go:build node

package policy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// promised is how soon a change has to be in force.
const promised = 2 * time.Second

// world is a whole network: a node with pods, the host, and outsiders.
type world struct {
	*Cluster
	client *fake.Clientset
	node   *place
	places map[netip.Addr]*place
	ends   []end
}

// serviceAddress stands for a pod, by a translation as kube-proxy's.
var serviceAddress = netip.MustParseAddr("10.99.64.10")

func newWorld(t *testing.T, r random, pods int) *world {
	t.Helper()
	w := &world{Cluster: &Cluster{}, client: fake.NewClientset(), node: newNode(t), places: map[netip.Addr]*place{}}
	w.Namespaces = r.cluster(3, 0).Namespaces
	for _, namespace := range w.Namespaces {
		if err := w.client.Tracker().Add(namespace); err != nil {
			t.Fatal(err)
		}
	}
	w.places[nodeAddress] = w.node
	w.node.serve(t)
	for i, address := range append([]netip.Addr{hostAddress}, outsiders...) {
		w.attach(t, newPlace(t, "outside "+address.String(), address), fmt.Sprintf("outside%d", i))
	}
	address := podRange.Addr().Next()
	for i := range pods {
		address = address.Next()
		pod := r.pod(w.Namespaces[i%len(w.Namespaces)].Name, fmt.Sprintf("pod%d", i), address)
		w.addPod(t, pod)
		w.attach(t, newPlace(t, pod.Name, address), fmt.Sprintf("veth%d", i))
	}
	w.ends = ends(w.Cluster)
	return w
}

func (w *world) attach(t *testing.T, p *place, link string) {
	t.Helper()
	p.attach(t, w.node, link)
	p.serve(t)
	w.places[p.address] = p
}

func (w *world) addPod(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	w.Pods = append(w.Pods, pod)
	if _, err := w.client.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// enforce runs an agent on the node until stop is called.
func (w *world) enforce(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	agentPlace := &place{name: "agent", work: make(chan func())}
	ready := make(chan error, 1)
	go agentPlace.join(w.node, ready)
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	go func() {
		ended <- agentPlace.do(func() error {
			agent, err := New(w.client, Network{Pods: podRange, Machine: []netip.Addr{hostAddress}})
			if err != nil {
				return err
			}
			return agent.Run(ctx)
		})
		close(agentPlace.work)
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// setPolicies replaces all policies, and gives when that was done.
func (w *world) setPolicies(t *testing.T, policies []*networkingv1.NetworkPolicy) time.Time {
	t.Helper()
	api := w.client.NetworkingV1()
	for _, old := range w.Policies {
		if err := api.NetworkPolicies(old.Namespace).Delete(t.Context(), old.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, policy := range policies {
		if _, err := api.NetworkPolicies(policy.Namespace).Create(t.Context(), policy, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w.Policies = policies
	return time.Now()
}

// connections are all pairs with a pod in them, with all services.
func (w *world) connections() []connection {
	var all []connection
	for _, client := range w.ends {
		for _, server := range w.ends {
			if client.address == server.address || (client.pod == nil && server.pod == nil) {
				continue
			}
			for _, s := range testServices {
				all = append(all, connection{client, server, s})
			}
		}
	}
	return all
}

// try gives the connections for which the packets say otherwise than expected.
// Places work side by side, each one connection at a time.
func (w *world) try(connections []connection, expected func(connection) bool) (wrong []connection, slow int) {
	byClient := map[netip.Addr][]connection{}
	for _, c := range connections {
		byClient[c.client.address] = append(byClient[c.client.address], c)
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	for address, own := range byClient {
		group.Go(func() {
			for _, c := range own {
				reached, late := w.places[address].reaches(c.service, c.server.address)
				mu.Lock()
				if reached != expected(c) {
					wrong = append(wrong, c)
				}
				if late {
					slow++
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return wrong, slow
}

func (c connection) String() string {
	return fmt.Sprintf("%s to %s, %s %d", c.client, c.server, c.service.protocol, c.service.port)
}

// TestNodePacketsPassAsTheDocumentationSays changes random policies under pods
// that speak to each other, to the node, to the host and to outsiders.
func TestNodePacketsPassAsTheDocumentationSays(t *testing.T) {
	const pods, rounds = 14, 5
	seed := uint64(time.Now().UnixNano())
	r := newRandom(seed)
	w := newWorld(t, r, pods)
	all := w.connections()
	// Without an agent everything passes: what is refused later is refused by it.
	if wrong, _ := w.try(all, func(connection) bool { return true }); len(wrong) > 0 {
		t.Fatalf("the network itself is broken: %s, and %d more", wrong[0], len(wrong)-1)
	}
	target := w.ends[len(w.ends)-1]
	w.node.nft(t, fmt.Sprintf(`table ip services {
		chain translate {
			type nat hook prerouting priority dstnat
			ip daddr %s tcp dport 8080 dnat to %s:80
		}
	}`, serviceAddress, target.address))
	w.enforce(t)

	verdicts, cut, kept := map[bool]int{}, 0, 0
	before := make(map[string]bool, len(all))
	for _, c := range all {
		before[c.String()] = true
	}
	for round := range rounds {
		policies := r.policies(w.Cluster, 4+r.IntN(6))
		describe := func() string { return fmt.Sprintf("seed %d, round %d\n%s", seed, round, policiesOf(w.Cluster)) }
		held := w.hold(t, all, before)
		changed := w.setPolicies(t, policies)
		judge := naive{w.Cluster}
		w.waitForChange(t, all, before, judge, changed, describe)
		time.Sleep(time.Until(changed.Add(promised))) // from now on, no packet may be judged by the past
		for _, h := range held {
			if judge.passes(h.connection) {
				kept++
				h.mustWork(t, describe)
			} else {
				cut++
				h.mustBeCut(t, describe)
			}
		}
		wrong, slow := w.try(all, judge.passes)
		if len(wrong) > 0 {
			t.Fatalf("%d of %d wrong, the first: %s, expected %t\n%s", len(wrong), len(all), wrong[0], judge.passes(wrong[0]), describe())
		}
		if slow > 0 {
			t.Errorf("%d refusals were not told to the client\n%s", slow, describe())
		}
		for _, c := range all {
			before[c.String()] = judge.passes(c)
			verdicts[before[c.String()]]++
		}
		w.tryService(t, judge, target, describe)
	}
	t.Logf("%d pairs, %d verdicts: %d allowed, %d refused; established connections: %d cut, %d kept",
		len(all)/len(testServices), len(all)*rounds, verdicts[true], verdicts[false], cut, kept)
	if len(all)/len(testServices) < 200 || verdicts[false] < 100 || verdicts[true] < 100 || cut < 10 || kept < 10 {
		t.Errorf("too few to mean anything (seed %d)", seed)
	}
}

// waitForChange waits until all verdicts that change have changed.
func (w *world) waitForChange(t *testing.T, all []connection, before map[string]bool, judge naive, changed time.Time, describe func() string) {
	t.Helper()
	var pending []connection
	for _, c := range all {
		if judge.passes(c) != before[c.String()] {
			pending = append(pending, c)
		}
	}
	sample := pending[:min(len(pending), 100)]
	begun := changed
	for len(sample) > 0 {
		begun = time.Now()
		sample, _ = w.try(sample, judge.passes)
		if len(sample) > 0 && begun.Sub(changed) > promised {
			t.Fatalf("still the old verdict after %s: %s, expected %t\n%s", begun.Sub(changed), sample[0], judge.passes(sample[0]), describe())
		}
	}
	t.Logf("%d verdicts changed, in force for connections begun %s later", len(pending), begun.Sub(changed))
}

// tryService asks for a translated address and port: the pod behind counts.
func (w *world) tryService(t *testing.T, judge naive, target end, describe func() string) {
	t.Helper()
	for _, client := range w.ends {
		if client.address == nodeAddress || client.address == target.address {
			continue // the translation is for what arrives, and a pod's way to itself is another test
		}
		expected := judge.passes(connection{client, target, service{corev1.ProtocolTCP, 80}})
		if reached, _ := w.places[client.address].reaches(service{corev1.ProtocolTCP, 8080}, serviceAddress); reached != expected {
			t.Fatalf("%s to a Service of %s: expected %t\n%s", client, target, expected, describe())
		}
	}
}

// held is a connection that was opened before a change.
type held struct {
	connection
	client, server net.Conn
}

// hold opens some of the connections that pass.
func (w *world) hold(t *testing.T, all []connection, passes map[string]bool) []held {
	t.Helper()
	var holding []held
	for _, c := range all {
		if !passes[c.String()] || c.service.protocol != corev1.ProtocolTCP || c.service.port != 80 {
			continue
		}
		opened, err := w.places[c.client.address].dial(c.service, c.server.address)
		if err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		t.Cleanup(func() { opened.Close() })
		if err := exchange(opened); err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		server := w.places[c.server.address]
		server.mu.Lock()
		accepted := server.accepted[opened.LocalAddr().String()]
		server.mu.Unlock()
		holding = append(holding, held{c, opened, accepted})
	}
	return holding
}

func (h held) mustWork(t *testing.T, describe func() string) {
	t.Helper()
	if err := exchange(h.client); err != nil {
		t.Fatalf("%s was opened before and is still allowed: %v\n%s", h.connection, err, describe())
	}
}

// mustBeCut tries both directions, and the one first in which the server speaks
// without being asked.
func (h held) mustBeCut(t *testing.T, describe func() string) {
	t.Helper()
	_, _ = h.server.Write([]byte("push")) // it may be told of the refusal
	if err := h.client.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, _ := h.client.Read(make([]byte, 8)); n > 0 {
		t.Fatalf("%s was cut, but the server still reaches the client\n%s", h.connection, describe())
	}
	begun := time.Now()
	if err := exchange(h.client); err == nil {
		t.Fatalf("%s was opened before and still works\n%s", h.connection, describe())
	} else if time.Since(begun) >= refusalTime {
		t.Fatalf("%s was cut, but the client is not told: %v\n%s", h.connection, err, describe())
	}
}

// simple is three pods in a namespace each, and a fourth in that of the first.
func simple(t *testing.T) (w *world, one, two, server end) {
	t.Helper()
	w = newWorld(t, newRandom(1), 4)
	pods := w.ends[len(w.ends)-4:]
	return w, pods[0], pods[2], pods[1]
}

// closed keeps everything away from a pod's namespace.
func closed(namespace string, types ...networkingv1.PolicyType) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "closed"},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: types},
	}
}

var web = service{corev1.ProtocolTCP, 80}

// becomes waits until a service is reached, or refused.
func (w *world) becomes(t *testing.T, reached bool, from end, to end) {
	t.Helper()
	for begun := time.Now(); ; {
		tried := time.Now()
		now, _ := w.places[from.address].reaches(web, to.address)
		if now == reached {
			return
		}
		if tried.Sub(begun) > promised {
			t.Fatalf("%s to %s: reached is not %t after %s", from, to, reached, promised)
		}
	}
}

func TestNodeRulesStayWhenTheAgentDiesAndAreReplacedInOneStep(t *testing.T) {
	w, one, _, server := simple(t)
	stop := w.enforce(t)
	w.setPolicies(t, []*networkingv1.NetworkPolicy{closed(server.pod.Namespace, "Ingress")})
	w.becomes(t, false, one, server)
	allowed := end{address: hostAddress}
	// Asked without a pause from now on: what is refused must never pass, what passes never be refused.
	asking, finish := context.WithCancel(t.Context())
	var group sync.WaitGroup
	ask := func(from end, expected bool) {
		group.Go(func() {
			count := 0
			for ; asking.Err() == nil; count++ {
				if reached, _ := w.places[from.address].reaches(web, server.address); reached != expected {
					t.Errorf("%s to %s: reached is not %t", from, server, expected)
					return
				}
			}
			t.Logf("%s asked %d times", from, count)
		})
	}
	ask(one, false)
	ask(allowed, true)
	for range 5 {
		stop()
		stop = w.enforce(t)
		time.Sleep(100 * time.Millisecond) // for the asking, not for the agent
	}
	stop()
	finish()
	group.Wait()
	w.setPolicies(t, nil)
	w.enforce(t)
	w.becomes(t, true, one, server)
}

func TestNodeAPodThatTheAgentDoesNotKnowIsDroppedUntilItDoes(t *testing.T) {
	w, one, _, server := simple(t)
	w.enforce(t)
	w.setPolicies(t, []*networkingv1.NetworkPolicy{closed(server.pod.Namespace, "Ingress")})
	w.becomes(t, false, one, server)
	address := netip.MustParseAddr("10.99.0.77")
	pod := newRandom(2).pod("ns0", "new", address)
	w.attach(t, newPlace(t, pod.Name, address), "vethnew")
	var group sync.WaitGroup
	try := func(from, to netip.Addr) {
		group.Go(func() {
			if reached, slow := w.places[from].reaches(web, to); reached || !slow {
				t.Errorf("%s to %s: reached %t, silently dropped %t", from, to, reached, slow)
			}
		})
	}
	for _, known := range []netip.Addr{one.address, nodeAddress, outsiders[0]} {
		try(address, known)
		if known != nodeAddress {
			try(known, address)
		}
	}
	group.Wait()
	// kubelet may ask from the beginning.
	if reached, _ := w.node.reaches(web, address); !reached {
		t.Error("the node does not reach the pod")
	}
	w.addPod(t, pod)
	w.becomes(t, true, end{pod, address}, one)
}

func TestNodeNoOtherAddressIsAWayAround(t *testing.T) {
	w, one, two, server := simple(t)
	linkLocal := w.linkLocal(t, one)
	sixth := service{corev1.ProtocolTCP, 8080}
	pod := w.places[one.address]
	asked := func() bool {
		reached, _ := pod.reaches(sixth, linkLocal)
		return reached
	}
	heard := func() bool {
		w.places[server.address].forget(two.address)
		pod.sendAs(t, two.address, server.address)
		return w.places[server.address].hears(two.address)
	}
	if !asked() || !heard() {
		t.Fatal("without an agent, the node is not reached by IPv6, or a false sender is not heard: this tests nothing")
	}
	w.enforce(t)
	w.setPolicies(t, []*networkingv1.NetworkPolicy{closed(one.pod.Namespace, "Egress")})
	w.becomes(t, false, one, server)
	if asked() {
		t.Error("the node is reached by its link's address of IPv6")
	}
	if heard() {
		t.Error("a pod sends as another one")
	}
	gatewayEnd := end{address: gateway}
	w.becomes(t, false, one, gatewayEnd)
	w.becomes(t, true, server, gatewayEnd)
}

// TestNodeAChangeAmongHundredsOfPodsIsInForceInTime has 200 namespaces as
// Tenantry's slots are, of three pods each that are only spoken of.
func TestNodeAChangeAmongHundredsOfPodsIsInForceInTime(t *testing.T) {
	w, one, _, server := simple(t)
	r := newRandom(3)
	address := netip.MustParseAddr("10.99.8.0")
	everybody := []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}
	for i := range 200 {
		name := fmt.Sprintf("slot%d", i)
		if err := w.client.Tracker().Add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
		for pod := range 3 {
			address = address.Next()
			if err := w.client.Tracker().Add(r.pod(name, fmt.Sprintf("pod%d", pod), address)); err != nil {
				t.Fatal(err)
			}
		}
		slot := closed(name, "Ingress", "Egress")
		slot.Name = "allow-slot"
		slot.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: everybody}}
		slot.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: everybody}}
		for _, policy := range []*networkingv1.NetworkPolicy{closed(name, "Ingress", "Egress"), slot} {
			if err := w.client.Tracker().Add(policy); err != nil {
				t.Fatal(err)
			}
		}
	}
	begun := time.Now()
	w.enforce(t)
	w.setPolicies(t, []*networkingv1.NetworkPolicy{closed(server.pod.Namespace, "Ingress")})
	w.becomes(t, false, one, server)
	t.Logf("600 pods and 400 policies after %s", time.Since(begun))
	for range 3 {
		begun = w.setPolicies(t, nil)
		w.becomes(t, true, one, server)
		lifted := time.Since(begun)
		begun = w.setPolicies(t, []*networkingv1.NetworkPolicy{closed(server.pod.Namespace, "Ingress")})
		w.becomes(t, false, one, server)
		t.Logf("a change is in force after %s and %s", lifted, time.Since(begun))
	}
}
