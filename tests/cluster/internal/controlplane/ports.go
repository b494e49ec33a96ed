package controlplane

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Free ports are looked for below the range that Linux takes the ports of
// outgoing connections from, so that no client takes one before its server.
const (
	firstFreePort = 20000
	lastFreePort  = 32000
	portAttempts  = 200
)

// FreePorts finds ports on loopback that nobody listens on now. Somebody may
// be quicker; with some 12,000 to choose from by chance that is rare.
func FreePorts() (Ports, error) {
	var ports Ports
	for _, port := range []*int{&ports.APIServer, &ports.EtcdClient, &ports.EtcdPeer} {
		listener, err := listenSomewhere()
		if err != nil {
			return Ports{}, err
		}
		// Kept open until all are chosen, so that they differ.
		defer listener.Close()
		*port = listener.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

func listenSomewhere() (net.Listener, error) {
	var tried error
	for range portAttempts {
		port := firstFreePort + rand.IntN(lastFreePort-firstFreePort)
		listener, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err == nil {
			return listener, nil
		}
		tried = errors.Join(tried, err)
	}
	return nil, fmt.Errorf("no free port between %d and %d: %w", firstFreePort, lastFreePort, tried)
}
