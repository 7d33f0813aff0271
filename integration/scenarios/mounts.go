package scenarios

import "github.com/weavewg/weavewg/integration/lab"

// launchBehind launches a node that sees mounts of its own: script makes them, as root, where only this daemon and what it
// starts can see them.
func (m *mesh) launchBehind(n *lab.Node, script string) {
	m.t.Helper()
	wrapper := n.Spec.Dir + "/up-behind-mounts"
	m.t.ok(n.WriteFile(m.t.Context(), wrapper, `#!/bin/sh -e
[ "$2" = mounted ] || exec unshare -m --propagation private "$0" up mounted "$@"
shift 2
`+script+`
exec `+m.env.Binary+` "$@"
`, 0o755))
	n.Spec.Binary = wrapper
	m.t.ok(n.Launch(m.t.Context()))
	n.Spec.Binary = m.env.Binary
}
