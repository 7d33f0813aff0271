package state

// Kinds of an Attachment.
const (
	Container = "container"
	Process   = "pid"
	Namespace = "netns"
	Host      = "host" // what expose made
)

// Attachment is something plugged into a network that is to be there again after a restart.
type Attachment struct {
	Kind      string   `json:"kind"`
	Target    string   `json:"target"`         // container id, process id, path of a network namespace; "" for the host
	Name      string   `json:"name,omitempty"` // as it was typed, or the container's name
	Life      string   `json:"life,omitempty"` // of a process: tells it from a later one with the same id
	Network   string   `json:"network"`
	Interface string   `json:"interface"`
	MAC       string   `json:"mac"`
	Addresses []string `json:"addresses"` // CIDR
}
