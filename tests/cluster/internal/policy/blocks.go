package policy

import (
	"net/netip"
	"slices"
)

// subtract gives, as disjoint prefixes, what a block covers without its
// exceptions.
func subtract(block netip.Prefix, exceptions []netip.Prefix) []netip.Prefix {
	block = block.Masked()
	touched := false
	for _, exception := range exceptions {
		if !exception.Overlaps(block) {
			continue
		}
		if exception.Bits() <= block.Bits() {
			return nil
		}
		touched = true
	}
	if !touched {
		return []netip.Prefix{block}
	}
	low, high := halves(block)
	return append(subtract(low, exceptions), subtract(high, exceptions)...)
}

// halves splits a prefix, which must not be a single address.
func halves(prefix netip.Prefix) (low, high netip.Prefix) {
	bits := prefix.Bits()
	bytes := prefix.Addr().AsSlice()
	bytes[bits/8] |= 0x80 >> (bits % 8)
	upper, _ := netip.AddrFromSlice(bytes) // as long as the address that it comes from
	return netip.PrefixFrom(prefix.Addr(), bits+1), netip.PrefixFrom(upper, bits+1)
}

// union gives disjoint prefixes, sorted, that cover what any of these does.
func union(prefixes []netip.Prefix) []netip.Prefix {
	sorted := slices.Clone(prefixes)
	// The widest first: what it covers follows at once.
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		if order := a.Addr().Compare(b.Addr()); order != 0 {
			return order
		}
		return a.Bits() - b.Bits()
	})
	var disjoint []netip.Prefix
	for _, prefix := range sorted {
		if len(disjoint) == 0 || !disjoint[len(disjoint)-1].Overlaps(prefix) {
			disjoint = append(disjoint, prefix)
		}
	}
	return disjoint
}
