package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tenantry.dev/tests/cluster/internal/supervise"
)

// nodeLink is the node's end of the cable.
const nodeLink = "eth0"

// connect lays a cable between the host and the node's network namespace, and
// routes pods and Services over it on the host. There is no default route in
// the node: nothing in it can reach further than this machine. What is there
// already stays.
func connect(l Layout, block Block, spawner *supervise.Spawner) error {
	namespace, err := netns.GetFromPath(l.networkPin())
	if err != nil {
		return fmt.Errorf("open the node's network: %w", err)
	}
	defer namespace.Close()
	inside, err := netlink.NewHandleAt(namespace)
	if err != nil {
		return fmt.Errorf("speak to the node's network: %w", err)
	}
	defer inside.Close()
	outside, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer outside.Close()

	if _, err := outside.LinkByName(l.Link()); err != nil {
		cable := &netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: l.Link()},
			PeerName:      nodeLink,
			PeerNamespace: netlink.NsFd(namespace),
		}
		if err := outside.LinkAdd(cable); err != nil {
			return fmt.Errorf("make the link %s: %w", l.Link(), err)
		}
	}
	if err := raise(inside, "lo", netip.Prefix{}); err != nil {
		return err
	}
	if err := raise(inside, nodeLink, block.Node()); err != nil {
		return err
	}
	if err := raise(outside, l.Link(), block.Host()); err != nil {
		return err
	}
	if err := routeTo(outside, l.Link(), block.Node().Addr(), block.Pods(), block.Services()); err != nil {
		return err
	}
	return spawner.Do(func() error {
		// A setting of the network namespace of the thread that writes it.
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
	})
}

// disconnect removes the cable and with it the host's routes.
func disconnect(l Layout) error {
	link, err := netlink.LinkByName(l.Link())
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	} else if err != nil {
		return err
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the link %s: %w", l.Link(), err)
	}
	return nil
}

// raise gives a link its address, if any, and switches it on.
func raise(handle *netlink.Handle, name string, address netip.Prefix) error {
	link, err := handle.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	if address.IsValid() {
		if err := handle.AddrReplace(link, &netlink.Addr{IPNet: ipNet(address)}); err != nil {
			return fmt.Errorf("address %s of link %s: %w", address, name, err)
		}
	}
	if err := handle.LinkSetUp(link); err != nil {
		return fmt.Errorf("switch on link %s: %w", name, err)
	}
	return nil
}

func routeTo(handle *netlink.Handle, name string, gateway netip.Addr, destinations ...netip.Prefix) error {
	link, err := handle.LinkByName(name)
	if err != nil {
		return err
	}
	for _, destination := range destinations {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(destination), Gw: gateway.AsSlice()}
		if err := handle.RouteReplace(route); err != nil {
			return fmt.Errorf("route to %s: %w", destination, err)
		}
	}
	return nil
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
}
