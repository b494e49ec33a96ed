//go:build node

package policy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// refusalTime is more than a refusal takes on a busy machine. What is dropped
// takes longer.
const refusalTime = 3 * time.Second

var gateway = netip.MustParseAddr("10.99.0.1")

// place is a network namespace that has no name: it ends with the test,
// however that ends.
type place struct {
	name    string
	address netip.Addr
	work    chan func()
	handle  netns.NsHandle

	mu sync.Mutex
	// accepted are the TCP connections to this place, by the client's address.
	accepted map[string]net.Conn
	// heard are the senders of what came by UDP.
	heard map[netip.Addr]bool
}

func newPlace(t *testing.T, name string, address netip.Addr) *place {
	t.Helper()
	p := &place{name: name, address: address, work: make(chan func()), accepted: map[string]net.Conn{}, heard: map[netip.Addr]bool{}}
	made := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and with it the namespace.
		runtime.LockOSThread()
		var err error
		p.handle, err = netns.New()
		made <- err
		for work := range p.work {
			work()
		}
	}()
	if err := <-made; err != nil {
		t.Fatalf("make a network namespace (is this root?): %v", err)
	}
	t.Cleanup(func() {
		close(p.work)
		p.handle.Close()
	})
	p.must(t, func() error { return p.up("lo", netip.Prefix{}) })
	return p
}

// do runs f in this place.
func (p *place) do(f func() error) error {
	done := make(chan error, 1)
	p.work <- func() { done <- f() }
	return <-done
}

func (p *place) must(t *testing.T, f func() error) {
	t.Helper()
	if err := p.do(f); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
}

// up switches a link on; called in the place.
func (p *place) up(name string, address netip.Prefix) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if address.IsValid() {
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(address)}); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(link)
}

func route(name string, to netip.Prefix, via netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(to)}
	if via.IsValid() {
		r.Gw = via.AsSlice()
	} else {
		r.Scope = netlink.SCOPE_LINK
	}
	return netlink.RouteAdd(r)
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), 32)}
}

func single(address netip.Addr) netip.Prefix { return netip.PrefixFrom(address, address.BitLen()) }

// attach lays a cable to the node, as the network plugin ptp does.
func (p *place) attach(t *testing.T, node *place, link string) {
	t.Helper()
	node.must(t, func() error {
		cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: link}, PeerName: "eth0", PeerNamespace: netlink.NsFd(p.handle)}
		if err := netlink.LinkAdd(cable); err != nil {
			return err
		}
		if err := node.up(link, single(gateway)); err != nil {
			return err
		}
		return route(link, single(p.address), netip.Addr{})
	})
	p.must(t, func() error {
		if err := p.up("eth0", single(p.address)); err != nil {
			return err
		}
		if err := route("eth0", single(gateway), netip.Addr{}); err != nil {
			return err
		}
		return route("eth0", netip.PrefixFrom(netip.IPv4Unspecified(), 0), gateway)
	})
}

// newNode makes the node's place: it routes, and has an address of its own.
func newNode(t *testing.T) *place {
	t.Helper()
	node := newPlace(t, "node", nodeAddress)
	node.must(t, func() error {
		if err := node.up("lo", single(nodeAddress)); err != nil {
			return err
		}
		for setting, value := range map[string]string{
			"ip_forward": "1",
			// The kernel tells of few refusals a second; here are many.
			"icmp_ratelimit": "0", "icmp_msgs_per_sec": "100000", "icmp_msgs_burst": "100000",
		} {
			if err := os.WriteFile("/proc/sys/net/ipv4/"+setting, []byte(value), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
	return node
}

// serve answers on all of testServices with what it was sent.
func (p *place) serve(t *testing.T) {
	t.Helper()
	for _, s := range testServices {
		address := ":" + strconv.Itoa(int(s.port))
		p.must(t, func() error {
			if s.protocol == corev1.ProtocolTCP {
				listener, err := net.Listen("tcp", address)
				if err != nil {
					return err
				}
				t.Cleanup(func() { listener.Close() })
				go p.acceptAll(listener)
				return nil
			}
			// By its own address, from which it then answers.
			socket, err := net.ListenPacket("udp", p.address.String()+address)
			if err != nil {
				return err
			}
			t.Cleanup(func() { socket.Close() })
			go p.answerAll(socket)
			return nil
		})
	}
}

func (p *place) acceptAll(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.accepted[connection.RemoteAddr().String()] = connection
		p.mu.Unlock()
		go func() {
			defer connection.Close()
			_, _ = io.Copy(connection, connection) // until either side is gone
		}()
	}
}

func (p *place) answerAll(socket net.PacketConn) {
	buffer := make([]byte, 64)
	for {
		n, from, err := socket.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			continue // what a client's refusal left
		}
		p.mu.Lock()
		p.heard[netip.MustParseAddrPort(from.String()).Addr().Unmap()] = true
		p.mu.Unlock()
		_, _ = socket.WriteTo(buffer[:n], from)
	}
}

// dial connects from this place.
func (p *place) dial(s service, to netip.Addr) (net.Conn, error) {
	dialer := net.Dialer{Timeout: refusalTime}
	var connection net.Conn
	err := p.do(func() (err error) {
		address := net.JoinHostPort(to.String(), strconv.Itoa(int(s.port)))
		connection, err = dialer.Dial(strings.ToLower(string(s.protocol)), address)
		return err
	})
	return connection, err
}

// reaches tries a service; slow says that a refusal did not come at once.
func (p *place) reaches(s service, to netip.Addr) (reached, slow bool) {
	begun := time.Now()
	connection, err := p.dial(s, to)
	if err != nil {
		return false, time.Since(begun) >= refusalTime
	}
	defer connection.Close()
	if tcp, ok := connection.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // many connections, from few ports
	}
	err = exchange(connection)
	return err == nil, err != nil && time.Since(begun) >= refusalTime
}

// exchange sends something and waits until it comes back.
func exchange(connection net.Conn) error {
	if err := connection.SetDeadline(time.Now().Add(refusalTime)); err != nil {
		return err
	}
	if _, err := connection.Write([]byte("ask")); err != nil {
		return err
	}
	answer := make([]byte, 3)
	if _, err := io.ReadFull(connection, answer); err != nil {
		return err
	}
	if string(answer) != "ask" {
		return fmt.Errorf("answered %q", answer)
	}
	return nil
}

// nft gives commands to nftables in this place.
func (p *place) nft(t *testing.T, commands string) {
	t.Helper()
	p.must(t, func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(commands)
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
		return nil
	})
}

// join works in another place's network namespace until its work is closed.
func (p *place) join(other *place, ready chan<- error) {
	runtime.LockOSThread()
	ready <- netns.Set(other.handle)
	for work := range p.work {
		work()
	}
}

// linkLocal gives the address of IPv6 that the node has on a pod's link, and
// waits until it may be used.
func (w *world) linkLocal(t *testing.T, pod end) netip.Addr {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < 10*time.Second; time.Sleep(20 * time.Millisecond) {
		address, both := netip.Addr{}, 0
		for _, side := range []*place{w.places[pod.address], w.node} {
			side.must(t, func() error {
				name := "eth0"
				if side == w.node {
					routes, err := netlink.RouteGet(pod.address.AsSlice())
					if err != nil {
						return err
					}
					link, err := netlink.LinkByIndex(routes[0].LinkIndex)
					if err != nil {
						return err
					}
					name = link.Attrs().Name
				}
				link, err := netlink.LinkByName(name)
				if err != nil {
					return err
				}
				addresses, err := netlink.AddrList(link, netlink.FAMILY_V6)
				if err == nil && len(addresses) > 0 && addresses[0].Flags&unix.IFA_F_TENTATIVE == 0 {
					address, _ = netip.AddrFromSlice(addresses[0].IP)
					both++
				}
				return err
			})
		}
		if both == 2 {
			return address.WithZone("eth0")
		}
	}
	t.Fatal("the link has no address of IPv6")
	return netip.Addr{}
}

// sendAs sends a datagram under another's address.
func (p *place) sendAs(t *testing.T, pretended, to netip.Addr) {
	t.Helper()
	p.must(t, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(single(pretended))}); err != nil {
			return err
		}
		sender := &net.UDPAddr{IP: pretended.AsSlice()}
		socket, err := net.DialUDP("udp", sender, &net.UDPAddr{IP: to.AsSlice(), Port: 53})
		if err != nil {
			return err
		}
		defer socket.Close()
		_, err = socket.Write([]byte("lie"))
		return err
	})
}

// hears tells whether a datagram comes from this sender.
func (p *place) hears(sender netip.Addr) bool {
	for begun := time.Now(); time.Since(begun) < 300*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		p.mu.Lock()
		heard := p.heard[sender]
		p.mu.Unlock()
		if heard {
			return true
		}
	}
	return false
}

func (p *place) forget(sender netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.heard, sender)
}
