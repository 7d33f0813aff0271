package vm

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// KernelPackage is the Debian package whose dependency is today's stock kernel. The cloud kernel lacks 9p.
const KernelPackage = "linux-image-amd64"

// Kernel is an unpacked kernel.
type Kernel struct {
	Image   string // the bzImage
	Release string // as uname -r says

	modules map[string]string // name, with _ for -, to the path of its file
}

// FetchKernel downloads Debian's stock kernel into a folder below cache and unpacks it there, without installing it. What
// was unpacked before is used again while it is the current one, or when the package lists cannot be read.
func FetchKernel(ctx context.Context, cache string) (*Kernel, error) {
	name, err := currentKernel(ctx)
	if err != nil {
		if kernel, cached := newestKernel(cache); cached == nil {
			return kernel, nil
		}
		return nil, err
	}
	dir := filepath.Join(cache, name)
	if kernel, err := openKernel(dir); err == nil {
		return kernel, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	if err := os.Mkdir(filepath.Join(work, "root"), 0o755); err != nil {
		return nil, err
	}
	if err := run(ctx, work, "apt-get", "download", name); err != nil {
		return nil, fmt.Errorf("%w (are the package lists current? apt-get update)", err)
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(debs) != 1 {
		return nil, fmt.Errorf("apt-get download %s left %d packages", name, len(debs))
	}
	if err := run(ctx, work, "dpkg", "-x", debs[0], "root"); err != nil {
		return nil, err
	}
	if err := os.Rename(filepath.Join(work, "root"), dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return openKernel(dir)
}

// currentKernel asks apt which package the meta package stands for.
func currentKernel(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", "--important", KernelPackage).Output()
	if err != nil {
		return "", fmt.Errorf("apt-cache depends %s: %w", KernelPackage, err)
	}
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			return "linux-image-" + name, nil
		}
	}
	return "", fmt.Errorf("apt knows no %s (are the package lists current? apt-get update)", KernelPackage)
}

func newestKernel(cache string) (*Kernel, error) {
	dirs, err := filepath.Glob(filepath.Join(cache, "linux-image-*"))
	if err != nil || len(dirs) == 0 {
		return nil, fs.ErrNotExist
	}
	return openKernel(dirs[len(dirs)-1])
}

func openKernel(dir string) (*Kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return nil, fmt.Errorf("%s holds no kernel", dir)
	}
	k := &Kernel{Image: images[0], modules: map[string]string{}}
	k.Release = strings.TrimPrefix(filepath.Base(k.Image), "vmlinuz-")
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); err == nil && ok && !entry.IsDir() {
			k.modules[moduleName(name)] = path
		}
		return err
	})
	if err == nil && len(k.modules) == 0 {
		err = fmt.Errorf("%s holds no modules that are not compressed", dir)
	}
	return k, err
}

// moduleName is the name by which modules refer to each other: file names use - and _ alike.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Closure returns the files of the named modules and of all that they depend on, each after what it needs.
func (k *Kernel) Closure(names ...string) ([]string, error) {
	var order []string
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		name = moduleName(name)
		if seen[name] {
			return nil
		}
		seen[name] = true
		path, ok := k.modules[name]
		if !ok {
			return fmt.Errorf("kernel %s has no module %s", k.Release, name)
		}
		needs, err := dependencies(path)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		for _, need := range needs {
			if err := visit(need); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		order = append(order, path)
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// dependencies reads what a module says about itself: NUL-terminated key=value strings in .modinfo (linux/moduleparam.h).
func dependencies(path string) ([]string, error) {
	file, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	section := file.Section(".modinfo")
	if section == nil {
		return nil, errors.New("no .modinfo")
	}
	data, err := section.Data()
	if err != nil {
		return nil, err
	}
	var needs []string
	for field := range strings.SplitSeq(string(data), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			needs = append(needs, strings.Split(list, ",")...)
		}
	}
	slices.Sort(needs)
	return needs, nil
}

func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
