package datapath

import "testing"

func TestPing(t *testing.T) {
	hosts := newHosts(t, 3)
	for _, to := range hosts[1:] {
		for _, args := range [][]string{
			{"-c1", "-W2", to.ip4.String()},
			{"-c1", "-W2", to.ip6.String()},
			{"-c1", "-W2", "-Mdo", "-s1402", to.ip4.String()}, // the whole MTU
		} {
			if out, err := hosts[0].command("ping", args...); err != nil {
				t.Errorf("ping %v: %v\n%s", args, err, out)
			}
		}
	}
	t.Logf("%+v", hosts[0].dp.Stats())
}
