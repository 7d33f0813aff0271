package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Store is the open state of one node. Every change is on the medium when its method returns nil; when it returns an
// error the Store is as before, and the file too unless only the very last step failed.
type Store struct {
	path string
	lock *os.File
	disk disk

	mu   sync.Mutex
	body body
}

// File is the path of the state in a state_dir.
func File(dir string) string { return filepath.Join(dir, "state.json") }

// Open makes dir if it is missing (mode 0700), locks it and reads the state in it. A file that cannot be understood is an
// error and stays as it is.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state_dir: %s: %w", dir, bare(err))
	}
	l, err := lock(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{path: File(dir), lock: l, disk: system{}}
	data, err := read(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err == nil:
		s.body, err = decode(data)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	return s, nil
}

// Close lets go of the lock.
func (s *Store) Close() error { return s.lock.Close() }

// Core decodes the core's part into v, which stays as it is when there is none.
func (s *Store) Core(v any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.body.Core == nil {
		return nil
	}
	if err := json.Unmarshal(s.body.Core, v); err != nil {
		return fmt.Errorf("%s: core: %w", s.path, err)
	}
	return nil
}

// SetCore replaces the core's part.
func (s *Store) SetCore(v any) error {
	core, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	return s.change(func(b *body) { b.Core = core })
}

// Attachments returns what is to be plugged in.
func (s *Store) Attachments() []Attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return clone(s.body.Attachments)
}

// SetAttachments replaces what is to be plugged in.
func (s *Store) SetAttachments(list []Attachment) error {
	list = clone(list)
	return s.change(func(b *body) { b.Attachments = list })
}

// change writes a changed copy, and keeps it once it is on the medium.
func (s *Store) change(f func(*body)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.body
	f(&next)
	data, err := encode(next)
	if err != nil {
		return err
	}
	if err := replace(s.disk, s.path, data); err != nil {
		return fmt.Errorf("write %s: %w", s.path, bare(err))
	}
	s.body = next
	return nil
}

// Purge removes the state; the lock stays until Close.
func (s *Store) Purge() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.disk.remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", s.path, bare(err))
	}
	s.body = body{}
	return nil
}

func clone(list []Attachment) []Attachment {
	out := slices.Clone(list)
	for i := range out {
		out[i].Addresses = slices.Clone(out[i].Addresses)
	}
	return out
}
