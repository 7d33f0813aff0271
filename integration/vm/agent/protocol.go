package agent

// Port is the name of the virtio serial port that carries the requests.
const Port = "weavewg.agent"

// Request asks the guest to do one thing. Requests are answered when they are done, in any order.
type Request struct {
	ID uint64 `json:"id"`
	// Exactly one of these is set.
	Start  *Start  `json:"start,omitempty"`
	Signal *Signal `json:"signal,omitempty"`
	Wait   *Ref    `json:"wait,omitempty"`   // answered when the program has ended
	Output *Ref    `json:"output,omitempty"` // answered at once
	Forget *Ref    `json:"forget,omitempty"` // drop what is kept about an ended program
	Copy   *Copy   `json:"copy,omitempty"`
}

// Start starts a program, found by PATH.
type Start struct {
	Argv []string `json:"argv"`
}

// Ref names a program that Start started.
type Ref struct {
	PID int `json:"pid"`
}

// Signal sends a signal to a program that Start started.
type Signal struct {
	PID    int `json:"pid"`
	Number int `json:"number"`
}

// Copy copies a file of the host, which the guest sees below HostRoot, and makes the folders above it.
type Copy struct {
	From string `json:"from"` // absolute path on the host
	To   string `json:"to"`   // absolute path in the guest
}

// HostRoot is where the guest sees the host's files as they are now, without a cache.
const HostRoot = "/host"

// Response answers the request of the same ID.
type Response struct {
	ID     uint64 `json:"id"`
	Err    string `json:"err,omitempty"` // the request could not be carried out
	PID    int    `json:"pid,omitempty"`
	Stdout []byte `json:"stdout,omitempty"`
	Stderr []byte `json:"stderr,omitempty"`
	Exit   int    `json:"exit"` // 128+n for signal n; -1 while it runs
}
