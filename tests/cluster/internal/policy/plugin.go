package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// PluginName is what the network plugin is called as: the last in the chain of
// those that give a pod its network (CNI). It changes nothing there. It tells
// the agent of the address, and so holds the pod's start until the rules for
// it are in force: a pod is never open before it is closed, nor cut off before
// it is open.
const PluginName = "tenantry-network-policy"

// retryDelay is between attempts to reach an agent that is just being started.
const retryDelay = 100 * time.Millisecond

// pluginConfig is what the plugin is given on standard input.
type pluginConfig struct {
	Version string `json:"cniVersion"`
	Socket  string `json:"socket"`
	// Result is what the plugins before this one did.
	Result json.RawMessage `json:"prevResult"`
}

// RunPlugin is the network plugin; it gives the exit code.
func RunPlugin() int {
	output, err := plugin(os.Stdin, os.Getenv)
	if err != nil {
		// The protocol's way to say so; 999 is a code of one's own.
		output, _ = json.Marshal(map[string]any{"cniVersion": "0.4.0", "code": 999, "msg": err.Error()})
	}
	if _, failed := os.Stdout.Write(output); failed != nil || err != nil {
		return 1
	}
	return 0
}

func plugin(input io.Reader, environment func(string) string) ([]byte, error) {
	command := environment("CNI_COMMAND")
	if command == "VERSION" {
		return []byte(`{"cniVersion":"0.4.0","supportedVersions":["0.3.0","0.3.1","0.4.0"]}`), nil
	}
	var config pluginConfig
	if err := json.NewDecoder(input).Decode(&config); err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", PluginName, err)
	}
	sandbox := environment("CNI_CONTAINERID")
	switch command {
	case "ADD":
		address, err := addressIn(config.Result)
		if err != nil {
			return nil, err
		}
		told := attachment{Sandbox: sandbox, Pod: podIn(environment("CNI_ARGS")), Address: address}
		return config.Result, tell(config.Socket, told, attachTimeout)
	case "DEL":
		// An agent that does not run knows nothing to forget.
		_ = tell(config.Socket, attachment{Sandbox: sandbox, Removed: true}, 0)
		return nil, nil
	case "CHECK":
		return nil, nil
	}
	return nil, fmt.Errorf("unknown command %q", command)
}

// podIn gives the pod's UID, which the container runtime names.
func podIn(arguments string) types.UID {
	for argument := range strings.SplitSeq(arguments, ";") {
		if uid, found := strings.CutPrefix(argument, "K8S_POD_UID="); found {
			return types.UID(uid)
		}
	}
	return ""
}

func addressIn(result json.RawMessage) (netip.Addr, error) {
	var before struct {
		IPs []struct {
			Address netip.Prefix `json:"address"`
		} `json:"ips"`
	}
	if err := json.Unmarshal(result, &before); err != nil {
		return netip.Addr{}, fmt.Errorf("result of the plugin before: %w", err)
	}
	for _, ip := range before.IPs {
		if ip.Address.Addr().Is4() {
			return ip.Address.Addr(), nil
		}
	}
	return netip.Addr{}, errors.New("the plugin before gave the pod no address")
}

// tell says something to the agent, and tries for so long to reach it.
func tell(socket string, told attachment, patience time.Duration) error {
	connection, err := net.Dial("unix", socket)
	for begun := time.Now(); err != nil && time.Since(begun) < patience; {
		time.Sleep(retryDelay)
		connection, err = net.Dial("unix", socket)
	}
	if err != nil {
		return fmt.Errorf("the network policies' agent does not answer: %w", err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(attachTimeout + 2*time.Second)); err != nil {
		return err
	}
	if err := json.NewEncoder(connection).Encode(told); err != nil {
		return err
	}
	var reply answer
	if err := json.NewDecoder(connection).Decode(&reply); err != nil {
		return fmt.Errorf("the network policies' agent ended meanwhile: %w", err)
	}
	if reply.Error != "" {
		return errors.New(reply.Error)
	}
	return nil
}
