package wgmesh

import (
	"net/netip"
	"reflect"
	"testing"
)

// A field that equal forgets would keep a change of it from ever being done.
func TestEqualLooksAtEveryField(t *testing.T) {
	everyField(t, DeviceSpec.equal)
	everyField(t, SlotSpec.equal)
	everyField(t, PeerSpec.equal)
	everyField(t, Snapshot.equal)
	everyField(t, Network.equal)
}

func everyField[T any](t *testing.T, equal func(a, b T) bool) {
	t.Helper()
	var zero T
	if !equal(zero, zero) {
		t.Errorf("%T is not equal to itself", zero)
	}
	for i := range reflect.TypeFor[T]().NumField() {
		changed := zero
		field := reflect.ValueOf(&changed).Elem().Field(i)
		name := reflect.TypeFor[T]().Field(i).Name
		switch field.Interface().(type) {
		case netip.Addr:
			field.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.1")))
		case netip.AddrPort:
			field.Set(reflect.ValueOf(netip.MustParseAddrPort("192.0.2.1:1")))
		default:
			switch field.Kind() {
			case reflect.Slice:
				field.Set(reflect.MakeSlice(field.Type(), 1, 1))
			case reflect.Array:
				field.Index(0).SetUint(1)
			case reflect.String:
				field.SetString("x")
			case reflect.Bool:
				field.SetBool(true)
			case reflect.Int:
				field.SetInt(1)
			default:
				field.SetUint(1)
			}
		}
		if equal(zero, changed) || equal(changed, zero) {
			t.Errorf("%T: a change of %s is not seen", zero, name)
		}
	}
}
