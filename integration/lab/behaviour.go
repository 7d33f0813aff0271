package lab

import (
	"context"
	"fmt"
)

// Dependence says which part of the remote endpoint a NAT box's choice depends on (RFC 4787, sections 4.1 and 5).
type Dependence uint8

// The dependences, from none to all.
const (
	EndpointIndependent Dependence = iota
	AddressDependent
	AddressAndPortDependent
)

// String names the dependence.
func (d Dependence) String() string {
	names := []string{"endpoint-independent", "address-dependent", "address-and-port-dependent"}
	if int(d) >= len(names) {
		return fmt.Sprintf("dependence %d", d)
	}
	return names[d]
}

// Behaviour is what can be measured of a NAT box from both of its sides.
type Behaviour struct {
	Mapping   Dependence // which public port an inside port gets
	Filtering Dependence // who may send to that port
}

// String is one line for people.
func (b Behaviour) String() string {
	return fmt.Sprintf("%s mapping, %s filtering", b.Mapping, b.Filtering)
}

// Measure measures, as RFC 5780, section 4, does, what is between a reflector and a host that sends from a port and
// from the port after it.
func (r *Reflector) Measure(ctx context.Context, at *Link, port uint16) (Behaviour, error) {
	var b Behaviour
	mapping, err := OpenEar(ctx, at.Host, at.Interface, port)
	if err != nil {
		return b, err
	}
	defer mapping.Close()
	if b.Mapping, err = r.mapping(ctx, mapping); err != nil {
		return b, err
	}
	// Another port: the filter of the first has seen all of the reflector by now.
	filtering, err := OpenEar(ctx, at.Host, at.Interface, port+1)
	if err != nil {
		return b, err
	}
	defer filtering.Close()
	b.Filtering, err = r.filtering(ctx, filtering)
	return b, err
}

func (r *Reflector) mapping(ctx context.Context, e *Ear) (Dependence, error) {
	first, err := r.Ask(ctx, e, 0, 0)
	if err != nil {
		return 0, err
	}
	otherAddress, err := r.Ask(ctx, e, 1, 0)
	if err != nil {
		return 0, err
	}
	otherPort, err := r.Ask(ctx, e, 0, 1)
	if err != nil {
		return 0, err
	}
	switch {
	case first != otherPort:
		return AddressAndPortDependent, nil
	case first != otherAddress:
		return AddressDependent, nil
	default:
		return EndpointIndependent, nil
	}
}

func (r *Reflector) filtering(ctx context.Context, e *Ear) (Dependence, error) {
	heard, err := r.ask(ctx, e, r.Addr(0, 0), fromOtherSocket, fromOtherPort, fromHere)
	if err != nil {
		return 0, err
	}
	if _, ok := heard[fromOtherSocket]; ok {
		return EndpointIndependent, nil
	}
	if _, ok := heard[fromOtherPort]; ok {
		return AddressDependent, nil
	}
	return AddressAndPortDependent, nil
}
