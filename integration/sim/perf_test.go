package sim
import ("testing";"time")
func TestPerf(t *testing.T) {
	began := time.Now()
	w := New(1, 100, Options{})
	q := everyPair{world: w, ok: known}
	took, ok := w.Until(20*time.Second, 250*time.Millisecond, q.holds)
	steps := 0
	for _, x := range w.Nodes { steps += x.steps }
	t.Logf("known %v %v (real %v) %d steps %d msgs %v %v", took, ok, time.Since(began), steps, w.messages, w.notes, w.Violations())
}
func TestPerfLinks(t *testing.T) {
	began := time.Now()
	w := New(2, 100, Options{})
	q := everyPair{world: w, ok: known}
	took, ok := w.Until(20*time.Second, 250*time.Millisecond, q.holds)
	t.Logf("known %v %v (real %v)", took, ok, time.Since(began))
	for i := 0; i < 4; i++ {
		w.Run(5*time.Second)
		steps,up,dir,max,con := 0,0,0,0,0
		for _, x := range w.Nodes { steps += x.steps; v := x.core.View(); dir += v.Sessions; if v.Sessions>max{max=v.Sessions}; for _,p:=range v.Peers { if linked(x,p){up++}; if p.Control {con++} } }
		t.Logf("%v real %v: %d steps %d msgs, %d up %d present, sessions %d max %d heap %d notes %v viol %v", w.Now(), time.Since(began), steps, w.messages, up, con, dir, max, len(w.clock.todo), w.notes, w.Violations())
	}
}
