package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
)

// Block is the node's share of the private addresses, a /16:
//
//	10.x.0.0/18    pods
//	10.x.64.0/18   Services
//	10.x.255.0/30  the cable between the host (.1) and the node (.2)
type Block struct{ netip.Prefix }

// Blocks are taken from 10.96/16 to 10.127/16.
const (
	firstBlock = 96
	lastBlock  = 127
)

// Pods is the range for pods.
func (b Block) Pods() netip.Prefix { return b.sub(0, 18) }

// Services is the range for Services.
func (b Block) Services() netip.Prefix { return b.sub(64, 18) }

// Host is the host's address on the cable.
func (b Block) Host() netip.Prefix { return netip.PrefixFrom(b.at(255, 1), 30) }

// Node is the node's address, also the API server's.
func (b Block) Node() netip.Prefix { return netip.PrefixFrom(b.at(255, 2), 30) }

// DNS is the address of the Service kube-dns.
func (b Block) DNS() netip.Addr { return b.at(64, 10) }

func (b Block) sub(third byte, bits int) netip.Prefix { return netip.PrefixFrom(b.at(third, 0), bits) }

func (b Block) at(third, fourth byte) netip.Addr {
	bytes := b.Addr().As4()
	return netip.AddrFrom4([4]byte{bytes[0], bytes[1], third, fourth})
}

// chooseBlock gives the first block that overlaps nothing in use.
func chooseBlock(used []netip.Prefix) (Block, error) {
	for second := firstBlock; second <= lastBlock; second++ {
		block := Block{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(second), 0, 0}), 16)}
		if !block.overlapsAny(used) {
			return block, nil
		}
	}
	return Block{}, fmt.Errorf("every block from 10.%d.0.0/16 to 10.%d.0.0/16 is in use on this machine", firstBlock, lastBlock)
}

func (b Block) overlapsAny(used []netip.Prefix) bool {
	for _, prefix := range used {
		// A default route covers everything and says nothing.
		if prefix.Bits() > 0 && b.Overlaps(prefix) {
			return true
		}
	}
	return false
}

// usedPrefixes are the host's routes and addresses, but for those of our own
// link, if it is there already.
func usedPrefixes(own string) ([]netip.Prefix, error) {
	ownIndex := -1
	if link, err := netlink.LinkByName(own); err == nil {
		ownIndex = link.Attrs().Index
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var used []netip.Prefix
	for _, route := range routes {
		if route.Dst == nil || route.LinkIndex == ownIndex {
			continue
		}
		if address, ok := netip.AddrFromSlice(route.Dst.IP.To4()); ok {
			bits, _ := route.Dst.Mask.Size()
			used = append(used, netip.PrefixFrom(address, bits))
		}
	}
	return used, nil
}

// record is what a state folder remembers of its node.
type record struct {
	Name  string       `json:"name"`
	Block netip.Prefix `json:"block"`
}

func readRecord(l Layout) (record, error) {
	data, err := os.ReadFile(l.recordFile())
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, fmt.Errorf("%s: %w", l.recordFile(), err)
	}
	return r, nil
}

// claimBlock gives the block that the state folder recorded, or chooses one
// and records it.
func claimBlock(l Layout) (Block, error) {
	used, err := usedPrefixes(l.Link())
	if err != nil {
		return Block{}, err
	}
	recorded, err := readRecord(l)
	if err == nil {
		if recorded.Name != l.Name {
			return Block{}, fmt.Errorf("the state folder %s is of the node %q, not %q", l.Dir, recorded.Name, l.Name)
		}
		block := Block{recorded.Block}
		if block.overlapsAny(used) {
			return Block{}, fmt.Errorf("the addresses of this node, %s, are now used by something else on this machine; "+
				"take the node down and up again to give it others", block)
		}
		return block, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Block{}, err
	}
	block, err := chooseBlock(used)
	if err != nil {
		return Block{}, err
	}
	return block, writeJSON(l.recordFile(), record{Name: l.Name, Block: block.Prefix})
}

// writeJSON writes a file that is whole at every moment.
func writeJSON(path string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	partial := path + ".partial"
	if err := os.WriteFile(partial, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(partial, path)
}
