package control

import "sync"

// replays remembers the nonces of the latest knocks: at least its size of them, at most twice as many. Only holders of
// the secret can add to it (and whoever replays them, once each), so strangers cannot flush it.
type replays struct {
	mu       sync.Mutex
	size     int
	new, old map[[nonceSize]byte]struct{}
}

func newReplays(size int) *replays {
	return &replays{size: size, new: map[[nonceSize]byte]struct{}{}}
}

// first says whether nonce was not seen before, and remembers it.
func (r *replays) first(nonce [nonceSize]byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, seen := r.new[nonce]; seen {
		return false
	}
	if _, seen := r.old[nonce]; seen {
		return false
	}
	if len(r.new) == r.size {
		r.new, r.old = map[[nonceSize]byte]struct{}{}, r.new
	}
	r.new[nonce] = struct{}{}
	return true
}
