package node

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weavewg/weavewg/services/api"
)

// problems is the list that status shows: one entry a code and subject, kept until it is over.
type problems struct {
	mu   sync.Mutex
	list map[string]api.Problem
}

func newProblems() *problems { return &problems{list: map[string]api.Problem{}} }

// set states a problem, or with an empty message that it is over. It reports whether that is news.
func (p *problems) set(code, subject, severity, message, hint string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := code + "\x00" + subject
	old, known := p.list[key]
	if message == "" {
		delete(p.list, key)
		return known
	}
	since := time.Now()
	if known {
		since = old.Since
	}
	p.list[key] = api.Problem{Code: code, Severity: severity, Message: message, Hint: hint, Since: since}
	return !known
}

// replace makes the problems of a code exactly these, by subject.
func (p *problems) replace(code string, now map[string]api.Problem) {
	p.mu.Lock()
	var over []string
	for key, old := range p.list {
		subject, ok := strings.CutPrefix(key, code+"\x00")
		if _, still := now[subject]; ok && old.Code == code && !still {
			over = append(over, subject)
		}
	}
	p.mu.Unlock()
	for _, subject := range over {
		p.set(code, subject, "", "", "")
	}
	for subject, one := range now {
		p.set(code, subject, one.Severity, one.Message, one.Hint)
	}
}

// check states the problem of an error, or that there is none.
func (p *problems) check(code, hint string, err error) bool {
	if err == nil {
		return p.set(code, "", "", "", "")
	}
	return p.set(code, "", "error", err.Error(), hint)
}

// all lists problems, errors first, then the oldest.
func (p *problems) all() []api.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]api.Problem, 0, len(p.list))
	for _, one := range p.list {
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b api.Problem) int {
		if a.Severity != b.Severity {
			if a.Severity == "error" {
				return -1
			}
			return 1
		}
		if d := a.Since.Compare(b.Since); d != 0 {
			return d
		}
		return len(a.Message) - len(b.Message)
	})
	return list
}

// has returns the message of a problem without a subject, or "".
func (p *problems) has(code string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.list[code+"\x00"].Message
}
