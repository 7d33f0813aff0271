package vagrant

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/weavewg/weavewg/integration/lab"
)

// ReadSSHConfig reads what `vagrant ssh-config` prints: for each box its address, its user and the file of its key
// (ssh_config(5), of which Vagrant uses one keyword a line). Vagrant gives the user sudo without a password.
func ReadSSHConfig(in io.Reader) ([]lab.SSHConfig, error) {
	var boxes []lab.SSHConfig
	var host, port string
	lines := bufio.NewScanner(in)
	for number := 1; lines.Scan(); number++ {
		word, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		if word == "Host" {
			boxes = append(boxes, lab.SSHConfig{Name: value, Become: []string{"sudo", "-n"}})
			host, port = value, "22"
			continue
		}
		if word == "" || word[0] == '#' {
			continue
		}
		if len(boxes) == 0 {
			return nil, fmt.Errorf("ssh-config:%d: %s stands before the first Host", number, word)
		}
		box := &boxes[len(boxes)-1]
		switch word {
		case "HostName":
			host = value
		case "Port":
			port = value
		case "User":
			box.User = value
		case "IdentityFile":
			key, err := os.ReadFile(value)
			if err != nil {
				return nil, fmt.Errorf("ssh-config:%d: %w", number, err)
			}
			box.Key = key
		}
		box.Addr = net.JoinHostPort(host, port)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("ssh-config: %w", err)
	}
	return boxes, nil
}
