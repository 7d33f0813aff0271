package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// File is one configuration file as read.
type File struct {
	Name string // as errors name it
	Data []byte
}

// Sources are what a Config is made of, beside the files.
type Sources struct {
	Environ  []string       // as os.Environ returns it
	Flags    *pflag.FlagSet // as Flags defined them; nil: none
	Hostname string
	Routes   []Route // of the host, for warnings about overlaps
}

// ErrNoFile is returned by Load for a configuration that is not there.
var ErrNoFile = errors.New("no configuration")

// Load reads the configuration file at path ("": DefaultFile) and conf.d/*.yaml beside it, in the order of their names. All
// faults come back at once, as Errors.
func Load(path string, s Sources) (*Config, error) {
	main, err := locate(path)
	if err != nil {
		return nil, err
	}
	names := []string{main}
	parts, err := os.ReadDir(filepath.Join(filepath.Dir(main), "conf.d"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("conf.d beside %s: %w", main, err)
	}
	for _, e := range parts {
		if ext := filepath.Ext(e.Name()); (ext == ".yaml" || ext == ".yml") && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, filepath.Join(filepath.Dir(main), "conf.d", e.Name()))
		}
	}
	var files []File
	for _, name := range names {
		data, err := readFile(name)
		if err != nil {
			return nil, err
		}
		files = append(files, File{Name: name, Data: data})
	}
	return Parse(files, s)
}

// locate returns the main file: the default may also end in .yml.
func locate(path string) (string, error) {
	candidates := []string{path}
	if path == "" {
		candidates = []string{DefaultFile, strings.TrimSuffix(DefaultFile, "yaml") + "yml"}
	}
	for _, c := range candidates {
		if _, err := os.Stat(c); !errors.Is(err, fs.ErrNotExist) {
			return filepath.Abs(c)
		}
	}
	return "", fmt.Errorf("%w at %s; make one: weavewg init -c %s", ErrNoFile, candidates[0], candidates[0])
}

// readFile reads one regular file of at most MaxFile bytes, and never waits for a pipe.
func readFile(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("configuration %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, fmt.Errorf("configuration %w", err)
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("configuration %w", err)
	}
	return data, nil
}

// Parse makes a Config of files (the first is the main one; later ones replace single values and whole lists), then environment, then
// flags. Relative paths are taken from the directory of the first file.
func Parse(files []File, s Sources) (*Config, error) {
	var errs Errors
	v := viper.New()
	from := origins{}
	for _, l := range leaves() {
		if l.def != nil {
			v.SetDefault(l.path, l.def)
		}
	}
	for _, f := range files {
		doc := readYAML(f.Name, f.Data, &errs)
		if err := v.MergeConfigMap(doc.values); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		for path := range doc.origins {
			if !strings.ContainsAny(path, "[") {
				from.drop(path)
			}
		}
		for path, origin := range doc.origins {
			from[path] = origin
		}
	}
	warnings := environment(v, from, s.Environ, &errs)
	flags(v, from, s.Flags, &errs)
	if err := errs.err(); err != nil {
		return nil, err
	}
	var r raw
	if err := v.UnmarshalExact(&r, func(c *mapstructure.DecoderConfig) { c.WeaklyTypedInput = false }); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	p := parser{errs: &errs, origins: from, hostname: s.Hostname, routes: s.Routes}
	if len(files) > 0 {
		p.base = filepath.Dir(files[0].Name)
	}
	c := p.parse(r)
	if err := errs.err(); err != nil {
		return nil, err
	}
	if len(files) > 0 {
		c.File = files[0].Name
	}
	c.Warnings = append(warnings, c.Warnings...)
	c.origins, c.values = from, c.effective()
	return c, nil
}

// environment applies WEAVEWG_… variables, and returns a warning for each that is none of ours.
func environment(v *viper.Viper, from origins, environ []string, errs *Errors) (warnings []string) {
	byVariable := map[string]leaf{}
	var words []string
	for _, l := range leaves() {
		if l.kind != items {
			byVariable[l.variable()] = l
			words = append(words, strings.ToLower(l.variable()))
		}
	}
	environ = slices.Clone(environ)
	slices.Sort(environ)
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, "WEAVEWG_") {
			continue
		}
		l, known := byVariable[name]
		if !known {
			hint := ""
			if w := nearest(name, words); w != "" {
				hint = fmt.Sprintf(" (did you mean %s?)", strings.ToUpper(w))
			}
			warnings = append(warnings, fmt.Sprintf("environment: %s overrides no key%s", clip(name), hint))
			continue
		}
		override(v, from, l, name, value, errs)
	}
	return warnings
}

// Flags defines a flag for every key that is not a mapping, such as --listen-port for listen.port.
func Flags(fs *pflag.FlagSet) {
	for _, l := range leaves() {
		if l.kind == items {
			continue
		}
		usage := l.doc
		if l.kind == texts || l.kind == numbers {
			usage += ", separated by commas"
		}
		fs.String(l.option(), "", usage)
	}
}

// flags applies the flags that were given.
func flags(v *viper.Viper, from origins, set *pflag.FlagSet, errs *Errors) {
	if set == nil {
		return
	}
	for _, l := range leaves() {
		if f := set.Lookup(l.option()); f != nil && f.Changed && l.kind != items {
			override(v, from, l, "--"+l.option(), f.Value.String(), errs)
		}
	}
}

// override sets a key from the text of a variable or flag.
func override(v *viper.Viper, from origins, l leaf, source, value string, errs *Errors) {
	var parsed any
	switch l.kind {
	case number:
		n, err := strconv.Atoi(value)
		if err != nil {
			errs.add(source, "%s: %q is not a number", l.path, clip(value))
			return
		}
		parsed = n
	case flag:
		if value != "true" && value != "false" {
			errs.add(source, "%s: want true or false, got %q", l.path, clip(value))
			return
		}
		parsed = value == "true"
	case texts, numbers:
		list := []any{}
		for part := range strings.SplitSeq(value, ",") {
			part = strings.TrimSpace(part)
			if part == "" {
				continue
			}
			if l.kind == texts {
				list = append(list, part)
				continue
			}
			n, err := strconv.Atoi(part)
			if err != nil {
				errs.add(source, "%s: %q is not a number", l.path, clip(part))
				return
			}
			list = append(list, n)
		}
		parsed = list
	default:
		parsed = value
	}
	v.Set(l.path, parsed)
	from.drop(l.path)
	from[l.path] = Origin{Name: source}
}
