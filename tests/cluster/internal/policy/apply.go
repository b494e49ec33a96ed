package policy

import (
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/knftables"
)

// replace puts a table in the place of whatever there is of its name.
func replace(nft knftables.Interface, wanted table) *knftables.Transaction {
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{})
	difference(tx, table{}, wanted)
	for _, base := range wanted.base {
		tx.Add(&knftables.Chain{
			Name: base.name, Type: new(knftables.FilterType), Hook: new(base.hook), Priority: new(base.priority),
		})
		for _, rule := range base.rules {
			tx.Add(&knftables.Rule{Chain: base.name, Rule: rule})
		}
	}
	return tx
}

// change leads from one table to another, whose base chains are the same. What
// is referred to comes before what refers to it, and goes after.
func change(nft knftables.Interface, present, wanted table) *knftables.Transaction {
	tx := nft.NewTransaction()
	difference(tx, present, wanted)
	return tx
}

func difference(tx *knftables.Transaction, present, wanted table) {
	for _, name := range sorted(wanted.sets) {
		if _, there := present.sets[name]; !there {
			tx.Add(wanted.sets[name].object(name))
		}
	}
	changed := func(name string) bool {
		rules, there := present.chains[name]
		return !there || !slices.Equal(rules, wanted.chains[name])
	}
	for _, name := range sorted(wanted.chains) {
		if changed(name) {
			tx.Add(&knftables.Chain{Name: name})
			tx.Flush(&knftables.Chain{Name: name})
		}
	}
	for _, name := range sorted(wanted.chains) {
		if changed(name) {
			for _, rule := range wanted.chains[name] {
				tx.Add(&knftables.Rule{Chain: name, Rule: rule})
			}
		}
	}
	for _, name := range sorted(wanted.sets) {
		elements(tx, name, present.sets[name], wanted.sets[name])
	}
	var gone []string
	for _, name := range sorted(present.chains) {
		if _, stays := wanted.chains[name]; !stays {
			gone = append(gone, name)
			tx.Flush(&knftables.Chain{Name: name})
		}
	}
	for _, name := range gone {
		tx.Delete(&knftables.Chain{Name: name})
	}
	for _, name := range sorted(present.sets) {
		if _, stays := wanted.sets[name]; !stays {
			tx.Delete(present.sets[name].object(name))
		}
	}
}

// elements changes what a set holds. One of ranges is named for what it holds,
// and never changes.
func elements(tx *knftables.Transaction, name string, present, wanted set) {
	for _, key := range sorted(present.elements) {
		if verdict, stays := wanted.elements[key]; !stays || verdict != present.elements[key] {
			tx.Delete(present.element(name, key))
		}
	}
	for _, key := range sorted(wanted.elements) {
		if verdict, there := present.elements[key]; !there || verdict != wanted.elements[key] {
			tx.Add(wanted.element(name, key))
		}
	}
}

func (s set) object(name string) knftables.Object {
	if s.isMap {
		return &knftables.Map{Name: name, Type: s.kind}
	}
	object := &knftables.Set{Name: name, Type: s.kind}
	if s.interval {
		object.Flags = []knftables.SetFlag{knftables.IntervalFlag}
	}
	return object
}

func (s set) element(name, key string) *knftables.Element {
	element := &knftables.Element{Key: strings.Split(key, " . ")}
	if s.isMap {
		element.Map, element.Value = name, []string{s.elements[key]}
	} else {
		element.Set = name
	}
	return element
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
