package relay

// Verdict says what becomes of a packet. Forwarded is the only one that lets it pass.
type Verdict uint8

// The verdicts. Names are stable: metrics carry them.
const (
	Forwarded Verdict = iota

	Garbage      // no WireGuard message
	Unregistered // its source is nobody's leg
	NoBinding    // an initiation to a slot that is in no binding of its source
	NoFlow       // an index that no handshake made known, or one that has expired
	NotOpen      // data before the handshake was answered
	Repeated     // a handshake message for the second time
	Taken        // an index that another session uses in the same place
	Limited      // too many initiations
	Nowhere      // the other leg is not registered yet
	Unproven     // data for a leg that has not answered yet from where it says that it is

	// What the sockets add.
	Scout      // a scout that is refused
	Hops       // its TTL or hop limit has run out
	SendFailed // the kernel refused it
	Overflow   // the kernel's queue to a socket was full

	Verdicts // how many there are
)

var verdictNames = [Verdicts]string{
	"forwarded", "garbage", "unregistered", "no-binding", "no-flow", "not-open", "repeated", "taken", "limited", "nowhere",
	"unproven", "scout", "hops", "send-failed", "overflow",
}

// String returns the stable name.
func (v Verdict) String() string {
	if v < Verdicts {
		return verdictNames[v]
	}
	return "unknown"
}
