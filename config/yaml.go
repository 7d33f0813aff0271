package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxFile is the largest configuration file, in bytes.
const MaxFile = 1 << 20

// document is one file after the strict pass: its values as viper takes them, and where each stands.
type document struct {
	values  map[string]any
	origins origins
}

// reader walks the nodes of one file by the schema.
type reader struct {
	file    string
	errs    *Errors
	origins origins
}

// readYAML reads one file strictly: UTF-8 without byte order mark, one document, no tabs in the indentation, no anchors, aliases or
// tags, no unknown or doubled key, every value of its type. All faults go to errs.
func readYAML(file string, data []byte, errs *Errors) document {
	r := reader{file: file, errs: errs, origins: origins{}}
	doc := document{values: map[string]any{}, origins: r.origins}
	if !r.plain(data) {
		return doc
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var root yaml.Node
	switch err := decoder.Decode(&root); {
	case errors.Is(err, io.EOF):
		return doc // nothing but comments
	case err != nil:
		r.syntax(err)
		return doc
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		r.fault(&second, "more than one document: remove the line ---")
		return doc
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
		return doc
	}
	top := root.Content[0]
	if top.Kind == yaml.ScalarNode && top.ShortTag() == "!!null" {
		return doc
	}
	if r.allowed(top) {
		if top.Kind != yaml.MappingNode {
			r.fault(top, "want keys such as mesh: home, got %s", describe(top))
			return doc
		}
		doc.values = r.mapping("", top, schema)
	}
	return doc
}

// plain refuses bytes that are not a text file of ours.
func (r *reader) plain(data []byte) bool {
	switch {
	case len(data) > MaxFile:
		r.errs.add(r.file, "config larger than 1 MiB")
		return false
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		r.errs.add(r.file, "UTF-16, not UTF-8: save it as UTF-8")
		return false
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		r.errs.add(r.file+":1:1", "starts with a byte order mark: save it as UTF-8 without one")
		return false
	}
	for n, line := range bytes.Split(data, []byte("\n")) {
		if i := bytes.IndexByte(line, 0); i >= 0 {
			r.errs.add(fmt.Sprintf("%s:%d:%d", r.file, n+1, i+1), "NUL byte: not a text file")
			return false
		}
		if !utf8.Valid(line) {
			r.errs.add(fmt.Sprintf("%s:%d", r.file, n+1), "not UTF-8")
			return false
		}
		blank := len(line) - len(bytes.TrimLeft(line, " \t"))
		rest := bytes.TrimSpace(line)
		if i := bytes.IndexByte(line[:blank], '\t'); i >= 0 && len(rest) > 0 && rest[0] != '#' {
			r.errs.add(fmt.Sprintf("%s:%d:%d", r.file, n+1, i+1), "tab in the indentation: use spaces")
			return false
		}
	}
	return true
}

// lineOf finds the place in the errors of the YAML parser, which carry it only as text.
var lineOf = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntax reports what the YAML parser refused.
func (r *reader) syntax(err error) {
	where, message := r.file, err.Error()
	if m := lineOf.FindStringSubmatch(message); m != nil {
		message = message[len(m[0]):]
		if m[1] != "" {
			where += ":" + m[1]
		}
	}
	if strings.Contains(message, "anchor") || strings.Contains(message, "alias") {
		message = "aliases not allowed: write the value out"
	}
	r.errs.add(where, "%s", message)
}

// fault reports a fault at a node.
func (r *reader) fault(n *yaml.Node, format string, args ...any) {
	r.errs.add(r.at(n).where(), format, args...)
}

// at is the place of a node.
func (r *reader) at(n *yaml.Node) Origin {
	return Origin{File: r.file, Line: n.Line, Column: n.Column}
}

// allowed refuses the parts of YAML that hide what is meant.
func (r *reader) allowed(n *yaml.Node) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.fault(n, "aliases not allowed: write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		r.fault(n, "tags such as %s not allowed: write the plain value", n.Tag)
	default:
		return true
	}
	return false
}

// mapping reads the keys of one mapping.
func (r *reader) mapping(prefix string, n *yaml.Node, keys []key) map[string]any {
	values := map[string]any{}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		if !r.allowed(name) {
			continue
		}
		if name.Kind != yaml.ScalarNode {
			r.fault(name, "want a key, got %s", describe(name))
			continue
		}
		k, known := find(keys, name.Value)
		if !known {
			r.fault(name, "unknown key %q%s", clip(prefix+name.Value), suggest(name.Value, keys))
			continue
		}
		path := prefix + name.Value
		if line, twice := first[name.Value]; twice {
			r.fault(name, "%s: given twice, first in line %d", path, line)
			continue
		}
		first[name.Value] = name.Line
		if v, ok := r.value(path, value, k); ok {
			values[name.Value] = v
		}
	}
	return values
}

// value reads one value of the key k.
func (r *reader) value(path string, n *yaml.Node, k key) (any, bool) {
	if !r.allowed(n) {
		return nil, false
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		none := `"" for none`
		switch k.kind {
		case texts, numbers, items:
			none = "[] for none"
		case number, flag, textOrNumber:
			none = "leave the key out for the default"
		case section:
			none = "leave the key out"
		}
		r.fault(n, "%s: has no value (%s)", path, none)
		return nil, false
	}
	if k.kind != section {
		r.origins[path] = r.at(n)
	}
	switch k.kind {
	case section:
		if n.Kind == yaml.MappingNode {
			return r.mapping(path+".", n, k.sub), true
		}
	case items, texts, numbers:
		if n.Kind == yaml.SequenceNode {
			return r.list(path, n, k), true
		}
	default:
		if v, ok := r.scalar(path, n, k.kind); ok {
			return v, true
		}
		return nil, false
	}
	r.fault(n, "%s: want %s, got %s", path, k.kind, describe(n))
	return nil, false
}

// list reads the elements of a list.
func (r *reader) list(path string, n *yaml.Node, k key) []any {
	list := []any{}
	for i, e := range n.Content {
		here := fmt.Sprintf("%s[%d]", path, i)
		if !r.allowed(e) {
			continue
		}
		r.origins[here] = r.at(e)
		switch {
		case k.kind == items && e.Kind == yaml.MappingNode:
			list = append(list, r.mapping(here+".", e, k.sub))
		case k.kind == items:
			r.fault(e, "%s: want keys such as name: default, got %s", here, describe(e))
		default:
			element := text
			if k.kind == numbers {
				element = number
			}
			if v, ok := r.scalar(here, e, element); ok {
				list = append(list, v)
			}
		}
	}
	return list
}

// scalar reads a single value of kind want.
func (r *reader) scalar(path string, n *yaml.Node, want kind) (any, bool) {
	tag := n.ShortTag()
	switch {
	case n.Kind != yaml.ScalarNode:
	case want == text && tag == "!!str", want == textOrNumber && tag == "!!str":
		return n.Value, true
	case want == text && tag != "!!null":
		r.fault(n, "%s: want text, got %s (quote it: %s)", path, describe(n), strconv.Quote(clip(n.Value)))
		return nil, false
	case want == flag && tag == "!!bool":
		return strings.EqualFold(n.Value, "true"), true
	case tag == "!!int" && (want == number || want == textOrNumber):
		var v int
		if err := n.Decode(&v); err != nil {
			r.fault(n, "%s: %s is no number that can be meant", path, clip(n.Value))
			return nil, false
		}
		return v, true
	}
	r.fault(n, "%s: want %s, got %s", path, want, describe(n))
	return nil, false
}

// describe names what a node is, for messages.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			return "nothing"
		case "!!int", "!!float":
			return "the number " + clip(n.Value)
		case "!!bool":
			return clip(n.Value)
		}
		return strconv.Quote(clip(n.Value))
	}
	return "an alias"
}

// clip shortens what a message quotes.
func clip(s string) string {
	if len(s) <= 64 {
		return s
	}
	return strings.ToValidUTF8(s[:60], "") + "…"
}
