package forward

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// rereadInterval is how often the file is looked at for a change.
const rereadInterval = 300 * time.Millisecond

// Serve forwards what the file says, and what it says after each change, until
// the context ends. A file that cannot be understood changes nothing.
func Serve(ctx context.Context, config *rest.Config, path string) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	s := &server{
		endpoints: newEndpoints(ctx, client),
		tunnels:   newTunnels(config, client),
		listeners: map[Rule]net.Listener{},
	}
	defer s.apply(ctx, nil)
	var seen os.FileInfo
	ticker := time.NewTicker(rereadInterval)
	defer ticker.Stop()
	for first := true; ; first = false {
		if info, _ := os.Stat(path); first || changed(seen, info) {
			seen = info
			if rules, err := ReadRules(path); err != nil {
				slog.Error("the forwards stay as they were", "error", err)
			} else {
				s.apply(ctx, rules)
			}
		} else {
			s.retry(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// changed compares what os.Stat said of a file, nil when it was not there.
func changed(before, now os.FileInfo) bool {
	if before == nil || now == nil {
		return before != now
	}
	return !os.SameFile(before, now) || before.Size() != now.Size() || !before.ModTime().Equal(now.ModTime())
}

type server struct {
	endpoints *endpoints
	tunnels   *tunnels
	listeners map[Rule]net.Listener
	// missing are rules whose address was taken when they were applied.
	missing []Rule
	serving sync.WaitGroup
}

// apply closes the listeners of rules that are gone and opens new ones.
// Connections that are open stay open.
func (s *server) apply(ctx context.Context, rules []Rule) {
	wanted := map[Rule]bool{}
	for _, rule := range rules {
		wanted[rule] = true
	}
	for rule, listener := range s.listeners {
		if !wanted[rule] {
			listener.Close()
			delete(s.listeners, rule)
			slog.Info("closed", "listen", rule.Listen)
		}
	}
	s.missing = nil
	for _, rule := range rules {
		if s.listeners[rule] == nil {
			s.listen(ctx, rule, slog.LevelError)
		}
	}
}

// retry listens where another process listened before.
func (s *server) retry(ctx context.Context) {
	missing := s.missing
	s.missing = nil
	for _, rule := range missing {
		s.listen(ctx, rule, slog.LevelDebug)
	}
}

func (s *server) listen(ctx context.Context, rule Rule, level slog.Level) {
	listener, err := net.Listen("tcp", rule.Listen)
	if err != nil {
		slog.Log(ctx, level, "cannot listen yet", "listen", rule.Listen, "error", err)
		s.missing = append(s.missing, rule)
		return
	}
	s.listeners[rule] = listener
	s.endpoints.watch(rule.Namespace)
	slog.Info("open", "listen", rule.Listen, "namespace", rule.Namespace, "service", rule.Service, "port", rule.Port)
	s.serving.Add(1)
	go func() {
		defer s.serving.Done()
		for {
			connection, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			} else if err != nil {
				slog.Error("accept", "listen", rule.Listen, "error", err)
				time.Sleep(rereadInterval) // out of files: let some be closed
				continue
			}
			go s.serve(ctx, rule, connection)
		}
	}()
}

// serve carries one connection. A pod that cannot be reached is tried once
// only: the next ready one comes first.
func (s *server) serve(ctx context.Context, rule Rule, connection net.Conn) {
	defer connection.Close()
	targets, err := s.endpoints.ready(ctx, rule)
	if err != nil {
		slog.Warn("no pod to forward to", "listen", rule.Listen, "error", err)
		return
	}
	for _, target := range targets {
		stream, err := s.tunnels.open(ctx, target)
		if err != nil {
			slog.Warn("a pod cannot be reached", "listen", rule.Listen, "pod", target.pod, "error", err)
			continue
		}
		exchange(ctx, connection, stream)
		return
	}
}

// exchange copies both ways. The pod's end of the stream ends everything; the
// client's only says that no more comes from it.
func exchange(ctx context.Context, connection net.Conn, stream tunnelled) {
	defer stream.close()
	done := context.AfterFunc(ctx, func() { connection.Close() })
	defer done()
	go func() {
		if _, err := io.Copy(stream.data, connection); err != nil {
			stream.close() // an aborted client shall not hold the pod's side
			return
		}
		stream.data.Close()
	}()
	// An error is a connection that one of the two broke off, as they may.
	_, _ = io.Copy(connection, stream.data)
}
