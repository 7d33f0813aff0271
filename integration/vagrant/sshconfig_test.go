package vagrant

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadSSHConfig(t *testing.T) {
	key := filepath.Join(t.TempDir(), "private key")
	if err := os.WriteFile(key, []byte("the key"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`Host alpha
  HostName 127.0.0.1
  User vagrant
  Port 2222
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  IdentityFile "%s"

Host beta
  HostName 192.0.2.7
  User admin
  IdentityFile %[1]s
`, key)
	boxes, err := ReadSSHConfig(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, box := range boxes {
		got = append(got, fmt.Sprintf("%s %s@%s %s %v", box.Name, box.User, box.Addr, box.Key, box.Become))
	}
	want := "alpha vagrant@127.0.0.1:2222 the key [sudo -n]; beta admin@192.0.2.7:22 the key [sudo -n]"
	if strings.Join(got, "; ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "; "), want)
	}
	for _, bad := range []string{"Port 22\n", "Host a\nIdentityFile /no/such/file\n"} {
		if _, err := ReadSSHConfig(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
