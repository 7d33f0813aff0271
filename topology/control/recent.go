package control

import "container/list"

// recent is a map of bounded size that forgets what was touched longest ago. Not for several goroutines.
type recent[K comparable, V any] struct {
	size  int
	byKey map[K]*list.Element
	order *list.List // of recentEntry, the latest touched first
	// keep, if set, spares an entry from being forgotten.
	keep func(V) bool
}

type recentEntry[K comparable, V any] struct {
	key   K
	value V
}

func newRecent[K comparable, V any](size int) *recent[K, V] {
	return &recent[K, V]{size: size, byKey: map[K]*list.Element{}, order: list.New()}
}

func (r *recent[K, V]) get(key K) (V, bool) {
	if e, ok := r.byKey[key]; ok {
		return e.Value.(*recentEntry[K, V]).value, true
	}
	var none V
	return none, false
}

// put stores a value and makes it the latest.
func (r *recent[K, V]) put(key K, value V) {
	if e, ok := r.byKey[key]; ok {
		e.Value.(*recentEntry[K, V]).value = value
		r.order.MoveToFront(e)
		return
	}
	for e := r.order.Back(); e != nil && len(r.byKey) >= r.size; {
		entry, before := e.Value.(*recentEntry[K, V]), e.Prev()
		if r.keep == nil || !r.keep(entry.value) {
			r.order.Remove(e)
			delete(r.byKey, entry.key)
		}
		e = before
	}
	r.byKey[key] = r.order.PushFront(&recentEntry[K, V]{key, value})
}

// all calls f for every entry, the latest first.
func (r *recent[K, V]) all(f func(K, V)) {
	for e := r.order.Front(); e != nil; e = e.Next() {
		entry := e.Value.(*recentEntry[K, V])
		f(entry.key, entry.value)
	}
}
