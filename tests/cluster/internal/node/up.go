package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"tenantry.dev/tests/cluster/internal/controlplane"
	"tenantry.dev/tests/cluster/internal/supervise"
)

const (
	followInterval = 50 * time.Millisecond
	healthTimeout  = 5 * time.Second
	// stopMargin is what the supervisor may need after its own timeout to stop
	// its parts and say what went wrong.
	stopMargin = 40 * time.Second
	logLines   = 15
)

// Up returns when the node is ready, which it starts if need be, detached from
// this process. Events go to out, one JSON line each.
func Up(ctx context.Context, l Layout, options RunOptions, out io.Writer) error {
	if _, err := findTools(); err != nil {
		return err
	}
	status, err := ReadStatus(l)
	if err != nil {
		return err
	}
	supervisor := status.Supervisor
	if status.Running() && !sameProgram(supervisor.PID) {
		// Built anew since: the parts are replaced, pods stay.
		(&eventWriter{out: out}).write(Event{Event: EventStarting, Part: "supervisor", Message: "replaced by the program as it is now"})
		if err := stopSupervisor(l); err != nil {
			return err
		}
		status.Supervisor = supervise.Process{}
	}
	if status.Running() && status.State == StateReady && healthy(ctx, l) {
		(&eventWriter{out: out}).write(Event{Event: EventReady, Part: wholeNode, Message: "already up", Kubeconfig: l.Kubeconfig()})
		return nil
	}
	if !status.Running() {
		if supervisor, err = launch(l, options); err != nil {
			return err
		}
	} else if status.State == StateReady {
		return waitHealthy(ctx, l, options.Timeout, out)
	}
	ctx, cancel := context.WithTimeout(ctx, options.Timeout+stopMargin)
	defer cancel()
	return follow(ctx, l, supervisor, out)
}

// launch starts the supervisor in a session of its own.
func launch(l Layout, options RunOptions) (supervise.Process, error) {
	if err := os.MkdirAll(l.LogDir(), 0o700); err != nil {
		return supervise.Process{}, err
	}
	events, err := os.OpenFile(l.eventsFile(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return supervise.Process{}, err
	}
	defer events.Close()
	log, err := os.OpenFile(supervisorLog(l), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return supervise.Process{}, err
	}
	defer log.Close()
	program, err := os.Executable()
	if err != nil {
		return supervise.Process{}, err
	}
	cmd := exec.Command(program, "node", "run", "--state", l.Dir, "--name", l.Name, "--timeout", options.Timeout.String(),
		fmt.Sprintf("--audit=%t", options.Audit))
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = events, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return supervise.Process{}, err
	}
	process, err := supervise.Identify(cmd.Process.Pid)
	return process, errors.Join(err, cmd.Process.Release())
}

// follow copies the supervisor's events until the last one.
func follow(ctx context.Context, l Layout, supervisor supervise.Process, out io.Writer) error {
	file, err := os.Open(l.eventsFile())
	if err != nil {
		return err
	}
	defer file.Close()
	reader := bufio.NewReader(file)
	line := ""
	for {
		// Asked before reading: what a dead supervisor said is all there.
		alive := supervisor.Alive()
		for {
			more, err := reader.ReadString('\n')
			line += more
			if err != nil {
				break // the rest of the line is still to come
			}
			if done, err := relay(line, out); done {
				return err
			}
			line = ""
		}
		if !alive {
			failure := &supervise.Failure{Part: "supervisor", Message: "ended while starting", Log: supervise.Tail(supervisorLog(l), logLines)}
			(&eventWriter{out: out}).write(Event{Event: EventFailed, Part: failure.Part, Message: failure.Message, Log: failure.Log})
			return failure
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped waiting for the node, which may still become ready: %w", ctx.Err())
		case <-time.After(followInterval):
		}
	}
}

// relay passes an event on; done says that it was the last one.
func relay(line string, out io.Writer) (done bool, err error) {
	if _, err := io.WriteString(out, line); err != nil {
		return true, err
	}
	var event Event
	if err := json.Unmarshal([]byte(line), &event); err != nil {
		return true, fmt.Errorf("event %q: %w", line, err)
	}
	if event.last() && event.Event == EventFailed {
		return true, &supervise.Failure{Part: event.Part, Message: event.Message, Log: event.Log}
	}
	return event.last(), nil
}

// waitHealthy waits for a node that was ready and has a part that is just
// being started again.
func waitHealthy(ctx context.Context, l Layout, timeout time.Duration, out io.Writer) error {
	events := &eventWriter{out: out}
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); {
		status, err := ReadStatus(l)
		if err != nil {
			return err
		}
		if status.State != StateReady {
			events.write(Event{Event: EventFailed, Part: wholeNode, Message: status.Failure})
			return fmt.Errorf("the node failed: %s", status.Failure)
		}
		if healthy(ctx, l) {
			events.write(Event{Event: EventReady, Part: wholeNode, Kubeconfig: l.Kubeconfig()})
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(followInterval):
		}
	}
	message := fmt.Sprintf("not healthy within %s", timeout)
	if err := health(ctx, l); err != nil {
		message += ": " + err.Error()
	}
	events.write(Event{Event: EventFailed, Part: wholeNode, Message: message})
	return errors.New(message)
}

func healthy(ctx context.Context, l Layout) bool { return health(ctx, l) == nil }

// health is without error when every part runs and Kubernetes agrees.
func health(ctx context.Context, l Layout) error {
	status, err := ReadStatus(l)
	if err != nil {
		return err
	}
	for _, part := range status.Parts {
		if part.State != supervise.Running || !part.Alive() {
			return fmt.Errorf("%s does not run", part.Name)
		}
	}
	client, err := controlplane.Client(l.Kubeconfig())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	for _, probe := range []func(context.Context) error{
		controlplane.APIServerReady(client),
		nodeReady(client, l.Name),
		podsReady(client, "kube-system", "coredns"),
	} {
		if err := probe(ctx); err != nil {
			return err
		}
	}
	return nil
}

// sameProgram tells whether a process runs the very file that this one does.
func sameProgram(pid int) bool {
	theirs, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return false
	}
	ours, err := os.Stat("/proc/self/exe")
	return err == nil && os.SameFile(theirs, ours)
}

func supervisorLog(l Layout) string { return filepath.Join(l.LogDir(), "supervisor.log") }
