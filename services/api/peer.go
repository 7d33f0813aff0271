package api

import (
	"fmt"
	"strings"
)

// FindPeer returns the peer that a word names: by its whole id, its name, or a prefix of its id. Several are an *Error of
// CodeAmbiguous that lists them.
func FindPeer(s Status, word string) (Peer, error) {
	var named, prefixed []Peer
	for _, p := range s.Peers {
		switch {
		case p.ID == strings.ToLower(word):
			return p, nil
		case p.Name == word:
			named = append(named, p)
		case word != "" && strings.HasPrefix(p.ID, strings.ToLower(word)):
			prefixed = append(prefixed, p)
		}
	}
	if len(named) == 0 {
		named = prefixed
	}
	switch {
	case len(named) == 1:
		return named[0], nil
	case len(named) > 1:
		e := Errorf(CodeAmbiguous, "%q is ambiguous, use more of the id:", word)
		for _, p := range named {
			e.Choices = append(e.Choices, fmt.Sprintf("%s %s", p.ID, p.Name))
		}
		return Peer{}, e
	case word == s.Node.Name || word != "" && strings.HasPrefix(s.Node.ID, strings.ToLower(word)):
		return Peer{}, Errorf(CodeUsage, "%s is this node itself", word)
	}
	return Peer{}, Errorf(CodeNotFound, "no peer %q: weavewg peers lists them", word)
}
