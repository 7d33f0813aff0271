// Package relay decides where a relay sends the WireGuard packets of others: between the two legs of a binding, by what
// WireGuard shows everybody (message type, mac1, indices), without a byte added or a key held. It is pure.
//
// A binding joins two WireGuard slots, each finally reached on one side. An initiation names its receiver by mac1, to whoever
// knows the receiver's public key; the answer repeats the initiation's index; from then on both directions are known by the
// address they come from and the index they carry.
package relay
