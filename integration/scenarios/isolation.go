package scenarios

import "time"

// isolation: two networks of one mesh share hosts and tunnels, and nothing else: the same addresses may be in both.
func isolation(t *T, e *Env) {
	m := newMesh(t, e, 2, withYAML("networks: [{name: red}, {name: blue}]\n"))
	m.up()
	plug := func(node int, network, addr string) *container {
		return m.plugged(m.nodes[node], addr, "--network", network)
	}
	redA, redB := plug(0, "red", "10.32.0.1/24"), plug(1, "red", "10.32.0.2/24")
	blueA, blueB := plug(0, "blue", "10.32.0.1/24"), plug(1, "blue", "10.32.0.2/24")
	lonely := plug(1, "blue", "10.32.0.3/24") // only blue has it
	redA.reaches(v4(1))
	blueA.reaches(v4(1))
	blueA.reaches(v4(2))
	if r := redA.ping(v4(2), "-count", "20", "-every", t.pace(20*time.Millisecond)); r.Lost() != r.Sent() {
		t.Errorf("red reaches an address of blue: %s", r)
	}
	counts := map[string]*task{}
	for name, c := range map[string]*container{"redB": redB, "blueA": blueA, "blueB": blueB, "lonely": lonely} {
		counts[name] = c.start(true, "count", "ethwe", "only for red")
	}
	redA.start(false, "shout", "ethwe", "255.255.255.255:7777", "only for red").answer(5*time.Second, new(bool))
	redA.ping(v4(1), "-count", "10", "-every", t.pace(20*time.Millisecond)) // what was sent before has arrived by now
	for name, k := range counts {
		var got int
		k.stop(&got)
		want := 0
		if name == "redB" {
			want = 1
		}
		if got != want {
			t.Errorf("%s heard %d broadcasts of red, want %d", name, got, want)
		}
	}
}
