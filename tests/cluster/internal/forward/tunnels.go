package forward

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

const (
	// maxStreams share one tunnel. Opening a tunnel takes three handshakes, so
	// that one for each connection would be slow; and a client that does not
	// read holds up others of its tunnel, so that one for all would be fragile.
	maxStreams = 8
	// idleTunnel is how long a tunnel that nobody uses is kept.
	idleTunnel = time.Minute
)

// tunnels are connections to pods through the API server.
type tunnels struct {
	config *rest.Config
	client kubernetes.Interface

	mu       sync.Mutex
	byTarget map[target][]*tunnel
}

// tunnel is one connection to a pod; it carries several streams.
type tunnel struct {
	connection httpstream.Connection
	streams    int
	nextID     int
	idle       *time.Timer
}

// tunnelled is a stream to a port of a pod. Closing data ends one direction.
type tunnelled struct {
	data  io.ReadWriteCloser
	close func()
}

func newTunnels(config *rest.Config, client kubernetes.Interface) *tunnels {
	return &tunnels{config: config, client: client, byTarget: map[target][]*tunnel{}}
}

// open gives a stream to a port of a pod, in a tunnel that is there or a new one.
func (t *tunnels) open(ctx context.Context, to target) (tunnelled, error) {
	for {
		used, id := t.reserve(to)
		if used == nil {
			break
		}
		if stream, err := t.stream(to, used, id); err == nil {
			return stream, nil
		}
		t.drop(to, used) // broken since: try the next
	}
	connection, err := t.dial(to)
	if err != nil {
		return tunnelled{}, err
	}
	made := t.add(to, connection)
	stream, err := t.stream(to, made, 0)
	if err != nil {
		t.drop(to, made)
	}
	return stream, err
}

// dial opens a tunnel, as kubectl does: through a websocket, or else SPDY.
func (t *tunnels) dial(to target) (httpstream.Connection, error) {
	url := t.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(to.namespace).Name(to.pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(t.config)
	if err != nil {
		return nil, err
	}
	old := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	websocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, t.config)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialerForStreaming(websocket, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	connection, protocol, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, err
	}
	if protocol != portforward.PortForwardProtocolV1Name {
		connection.Close()
		return nil, fmt.Errorf("the API server speaks the protocol %q instead of %q", protocol, portforward.PortForwardProtocolV1Name)
	}
	return connection, nil
}

// stream opens the pair of streams that port-forwarding a connection takes.
// The tunnel has counted it already.
func (t *tunnels) stream(to target, in *tunnel, id int) (tunnelled, error) {
	headers := http.Header{}
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	headers.Set(corev1.PortHeader, strconv.Itoa(int(to.port)))
	headers.Set(corev1.PortForwardRequestIDHeader, strconv.Itoa(id))
	problems, err := in.connection.CreateStream(headers)
	if err != nil {
		return tunnelled{}, err
	}
	problems.Close() // nothing is written to it
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := in.connection.CreateStream(headers)
	if err != nil {
		in.connection.RemoveStreams(problems)
		return tunnelled{}, err
	}
	go func() {
		message, err := io.ReadAll(problems)
		if err == nil && len(message) > 0 {
			slog.Warn("the connection to a pod failed", "pod", to.pod, "error", string(message))
			_ = data.Reset() // it may be closed already
		}
	}()
	var once sync.Once
	return tunnelled{data: data, close: func() {
		once.Do(func() {
			_ = data.Reset()
			in.connection.RemoveStreams(problems, data)
			t.release(to, in)
		})
	}}, nil
}

// reserve gives a tunnel that has room, counting the new stream.
func (t *tunnels) reserve(to target) (*tunnel, int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, candidate := range t.byTarget[to] {
		if candidate.streams < maxStreams {
			candidate.streams++
			candidate.nextID++
			candidate.idle.Stop()
			return candidate, candidate.nextID
		}
	}
	return nil, 0
}

func (t *tunnels) add(to target, connection httpstream.Connection) *tunnel {
	made := &tunnel{connection: connection, streams: 1}
	made.idle = time.AfterFunc(idleTunnel, func() { t.dropIdle(to, made) })
	made.idle.Stop()
	t.mu.Lock()
	t.byTarget[to] = append(t.byTarget[to], made)
	t.mu.Unlock()
	go func() {
		<-connection.CloseChan()
		t.drop(to, made)
	}()
	return made
}

func (t *tunnels) release(to target, used *tunnel) {
	t.mu.Lock()
	defer t.mu.Unlock()
	used.streams--
	if used.streams == 0 {
		used.idle.Reset(idleTunnel)
	}
}

func (t *tunnels) dropIdle(to target, unused *tunnel) {
	t.mu.Lock()
	busy := unused.streams > 0
	t.mu.Unlock()
	if !busy {
		t.drop(to, unused)
	}
}

// drop forgets a tunnel and closes it.
func (t *tunnels) drop(to target, dead *tunnel) {
	t.mu.Lock()
	remaining := t.byTarget[to][:0:0]
	for _, candidate := range t.byTarget[to] {
		if candidate != dead {
			remaining = append(remaining, candidate)
		}
	}
	if len(remaining) == 0 {
		delete(t.byTarget, to)
	} else {
		t.byTarget[to] = remaining
	}
	t.mu.Unlock()
	dead.idle.Stop()
	_ = dead.connection.Close() // it may be the other side that closed it
}
