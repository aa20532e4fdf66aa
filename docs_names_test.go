package discoro_test

import (
	"context"
	"go/ast"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/discoro/discoro"
)

var (
	docFlagVar = regexp.MustCompile(`\.\w+Var\(&?[\w.]+, "([\w-]+)"`)
	docComment = regexp.MustCompile(`\s+#.*`)
)

// options are the names of a program's options, without dashes.
type options map[string]bool

// docPrograms returns the options of the programs that the documents name, by program.
func docPrograms(t *testing.T) map[string]options {
	t.Helper()
	programs := map[string]options{
		"node":      mainOptions(t, discoro.RunNode, discoro.NodeConfig{}),
		"scheduler": mainOptions(t, discoro.RunScheduler, discoro.SchedulerConfig{}),
	}
	shared := options{}
	for _, s := range readRepository(t) {
		program, ok := strings.CutPrefix(s.dir(), "examples/")
		if !ok {
			continue
		}
		into := shared
		if program != "internal/demo" {
			if programs[program] == nil {
				programs[program] = options{}
			}
			into = programs[program]
		}
		for _, m := range docFlagVar.FindAllSubmatch(s.text, -1) {
			into[string(m[1])] = true
		}
	}
	for _, name := range []string{"wordcount", "client1"} {
		maps.Copy(programs[name], shared)
	}
	return programs
}

// mainOptions returns the options that a program takes: those of the fields of its configuration, and
// whatever else it takes among those that the documents list, and of one letter.
func mainOptions(t *testing.T, run func(context.Context, []string) error, cfg any) options {
	t.Helper()
	names := []string{"secret_file", "daemon", "debug", "config", "save_config"}
	for _, f := range reflect.VisibleFields(reflect.TypeOf(cfg)) {
		if name := f.Tag.Get("json"); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	for r := 'a'; r <= 'z'; r++ {
		if r != 'h' {
			names = append(names, string(r))
		}
	}
	has := options{"help": true}
	missing := "--config=" + filepath.Join(t.TempDir(), "none") // so that it goes no further than its options
	for _, name := range names {
		err := run(t.Context(), []string{"--" + name + "=1", missing})
		if err == nil {
			t.Fatal("a program without its configuration file ends without an error")
		}
		if !strings.Contains(err.Error(), "not defined: -"+name) {
			has[name] = true
		}
	}
	return has
}

// goFlags are the flags of the go command that the documents use, and help.
var goFlags = []string{"h", "run", "bench", "benchtime", "count", "race", "v", "C", "edit", "replace", "fuzz", "fuzztime", "gcflags"}

// foreignOptions are those of other systems that the documents name.
var foreignOptions = []string{"cpus", "node_ports", "scheduler_port", "clean"}

// TestDocOptions holds the options in the documents to what the programs say that they have.
func TestDocOptions(t *testing.T) {
	t.Parallel()
	programs := docPrograms(t)
	known := slices.Concat(goFlags, foreignOptions)
	for _, has := range programs {
		known = slices.AppendSeq(known, maps.Keys(has))
	}
	for _, d := range userDocuments(t) {
		for _, s := range d.spans {
			for word := range strings.FieldsSeq(s.text) {
				name, isOption := optionOf(word)
				if isOption && !slices.Contains(known, name) {
					t.Errorf("%s:%d: %s: no program has that option", d.path, s.line, word)
				}
				variable, isOurs := strings.CutPrefix(word, "DISCORO_")
				if isOurs && variable != "" && !slices.Contains(known, strings.ToLower(variable)) {
					t.Errorf("%s:%d: %s: there is no such option", d.path, s.line, word)
				}
			}
		}
		for _, c := range d.commands() {
			checkCommand(t, d, c, programs)
		}
	}
	checkOptionTable(t, documents(t)["docs/options.md"], programs)
}

// checkOptionTable holds the table of options to what nodes and schedulers have: all of it, and nothing else.
func checkOptionTable(t *testing.T, d *document, programs map[string]options) {
	t.Helper()
	listed := map[string]options{"node": {"help": true}, "scheduler": {"help": true}}
	for _, row := range d.rows {
		for _, m := range docSpan.FindAllStringSubmatch(row[0], -1) {
			name := strings.TrimLeft(m[1], "-")
			if name == m[1] {
				continue
			}
			listed["node"][name] = listed["node"][name] || strings.Contains(row[1], "N")
			listed["scheduler"][name] = listed["scheduler"][name] || strings.Contains(row[1], "S")
		}
	}
	for program, has := range listed {
		maps.DeleteFunc(has, func(_ string, has bool) bool { return !has })
		if got, want := slices.Sorted(maps.Keys(has)), slices.Sorted(maps.Keys(programs[program])); !slices.Equal(got, want) {
			t.Errorf("%s lists for a %s\n%v\nand it has\n%v", d.path, program, got, want)
		}
	}
}

// commands returns the commands in a document: the lines of its shell blocks, and spans that call Go.
func (d *document) commands() []docText {
	var commands []docText
	for _, b := range d.blocks {
		for i, line := range strings.Split(b.text, "\n") {
			line, prompt := strings.CutPrefix(line, "$ ")
			if b.lang == "sh" || b.lang == "console" && prompt {
				commands = append(commands, docText{line: b.line + 1 + i, text: docComment.ReplaceAllString(line, "")})
			}
		}
	}
	for _, s := range d.spans {
		if strings.HasPrefix(s.text, "go ") || strings.HasPrefix(s.text, "cd ") {
			commands = append(commands, s)
		}
	}
	return commands
}

// checkCommand checks the options, folders and patterns of a command line.
func checkCommand(t *testing.T, d *document, c docText, programs map[string]options) {
	t.Helper()
	dir := "."
	for command := range strings.SplitSeq(c.text, "&&") {
		words := strings.Fields(command)
		switch {
		case len(words) < 2:
		case words[0] == "cd":
			dir = words[1]
			checkFolder(t, d, c, dir)
		case words[0] == "go" && words[1] == "run":
			checkRun(t, d, c, words[2:], programs)
		case words[0] == "go" && words[1] == "test":
			checkGoTest(t, d, c, dir, words[2:])
		}
	}
}

// optionOf returns the name of an option, without dashes and value.
func optionOf(word string) (name string, ok bool) {
	name, _, _ = strings.Cut(strings.TrimLeft(word, "-"), "=")
	return name, strings.HasPrefix(word, "-") && strings.IndexFunc(name, unicode.IsLetter) == 0
}

func checkFolder(t *testing.T, d *document, c docText, dir string) {
	t.Helper()
	if info, err := os.Stat(filepath.Join(".", strings.TrimSuffix(dir, "..."))); err != nil || !info.IsDir() {
		t.Errorf("%s:%d: %s: there is no folder %s", d.path, c.line, c.text, dir)
	}
}

// checkRun checks the program that is run, of this module or of the one that the document shows, and its options.
func checkRun(t *testing.T, d *document, c docText, words []string, programs map[string]options) {
	t.Helper()
	program := words[0]
	shown := slices.ContainsFunc(d.blocks, func(b docText) bool {
		return strings.HasPrefix(b.text, "// "+strings.TrimPrefix(program, "./")+"/")
	})
	if !shown {
		checkFolder(t, d, c, program)
	}
	for _, word := range words[1:] {
		if name, ok := optionOf(word); ok && !programs[path.Base(program)][name] {
			t.Errorf("%s:%d: %s: %s has no option %s", d.path, c.line, c.text, program, word)
		}
	}
}

// checkGoTest checks that the patterns of go test find something where they are looked for.
func checkGoTest(t *testing.T, d *document, c docText, dir string, words []string) {
	t.Helper()
	folders, patterns := []string{}, map[string]string{}
	for i := 0; i < len(words); i++ {
		name, isFlag := optionOf(words[i])
		switch {
		case !isFlag:
			folders = append(folders, path.Join(dir, words[i]))
			checkFolder(t, d, c, path.Join(dir, words[i]))
		case !slices.Contains(goFlags, name):
			t.Errorf("%s:%d: %s: no such flag of go test is known here: %s", d.path, c.line, c.text, name)
		case name == "run" || name == "bench" || name == "benchtime":
			i++
			patterns[name] = strings.Trim(words[i], "'")
		}
	}
	if len(folders) == 0 {
		folders = []string{dir}
	}
	for name, prefix := range map[string]string{"run": "Test", "bench": "Benchmark"} {
		pattern := patterns[name]
		if pattern != "" && pattern != "^$" && !finds(t, folders, prefix, regexp.MustCompile(pattern)) {
			t.Errorf("%s:%d: %s: %v has no %s that %s matches: was it moved or renamed?", d.path, c.line, c.text, folders, prefix, pattern)
		}
	}
}

// finds reports whether a test file in one of the folders has a function that the pattern matches.
func finds(t *testing.T, folders []string, prefix string, pattern *regexp.Regexp) bool {
	t.Helper()
	for _, s := range readRepository(t) {
		in := slices.ContainsFunc(folders, func(dir string) bool { return s.dir() == dir || strings.HasSuffix(dir, "...") })
		if !in || s.file == nil || !strings.HasSuffix(s.path, "_test.go") {
			continue
		}
		for _, decl := range s.file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && strings.HasPrefix(fn.Name.Name, prefix) && pattern.MatchString(fn.Name.Name) {
				return true
			}
		}
	}
	return false
}

// TestDocExamples holds the index of examples, and README's table of programs, to what there is.
func TestDocExamples(t *testing.T) {
	t.Parallel()
	docs := documents(t)
	sources := readRepository(t)
	programs := map[string]bool{}
	for _, row := range docs["README.md"].rows {
		for word := range strings.FieldsFuncSeq(row[len(row)-1], func(r rune) bool { return r == ' ' || r == ',' }) {
			programs[word] = true
		}
	}
	for _, s := range sources {
		if name, ok := strings.CutPrefix(s.path, "examples/"); ok && path.Base(name) == "main.go" && !programs[path.Dir(name)] {
			t.Errorf("README.md's table of examples lacks %s", path.Dir(name))
		}
		if s.file == nil || s.dir() != "." && s.dir() != "discorotest" || !strings.HasPrefix(path.Base(s.path), "example") {
			continue
		}
		for _, m := range docExample.FindAllSubmatch(s.text, -1) {
			want := "[" + string(m[1]) + "](../" + s.path + ")"
			if !slices.ContainsFunc(docs["docs/faq.md"].rows, func(row []string) bool { return strings.Contains(row[len(row)-1], want) }) {
				t.Errorf("docs/faq.md has no row with %s", want)
			}
		}
	}
}

// TestDocNames holds names of types, functions, methods and fields in the documents to the packages.
func TestDocNames(t *testing.T) {
	t.Parallel()
	names := exportedNames(t)
	for _, d := range userDocuments(t) {
		spans := d.spans
		if path.Base(d.path) == "coming-from-asyncoro.md" { // the names on the left are not ours
			spans = nil
			for _, row := range d.rows {
				for _, m := range docSpan.FindAllStringSubmatch(row[len(row)-1], -1) {
					spans = append(spans, docText{text: m[1]})
				}
			}
		}
		for _, s := range spans {
			m := docName.FindStringSubmatch(s.text)
			if m == nil || slices.ContainsFunc(d.blocks, func(b docText) bool { return strings.Contains(b.text, "\ntype "+m[2]+" ") }) {
				continue
			}
			if m[1] != "" && m[1] != "discoro" && m[1] != "discorotest" || strings.ToUpper(m[2]) == m[2] {
				continue
			}
			name := m[2]
			if m[3] != "" {
				name += "." + m[3]
			}
			if !names[name] {
				t.Errorf("%s:%d: %s: neither discoro nor discorotest has it", d.path, s.line, s.text)
			}
		}
	}
}

// exportedNames returns the names that users of the packages see: of types, functions, variables and
// constants, and of fields and methods both alone and behind their type.
func exportedNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	embedded := map[string][]string{}
	for _, s := range readRepository(t) {
		if s.file == nil || s.dir() != "." && s.dir() != "discorotest" || strings.HasSuffix(s.path, "_test.go") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				of, _, _ := strings.Cut(strings.Trim(funcName(n), "(*"), ")")
				names[n.Name.Name] = true
				names[of+"."+n.Name.Name] = true
				return false
			case *ast.ValueSpec:
				for _, id := range n.Names {
					names[id.Name] = true
				}
			case *ast.TypeSpec:
				names[n.Name.Name] = true
				addFields(n, names, embedded)
			}
			return true
		})
	}
	for of, others := range embedded {
		for name := range maps.Clone(names) {
			if base, field, _ := strings.Cut(name, "."); slices.Contains(others, base) && field != "" {
				names[of+"."+field] = true
			}
		}
	}
	return names
}

func addFields(spec *ast.TypeSpec, names map[string]bool, embedded map[string][]string) {
	of := spec.Name.Name
	st, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range st.Fields.List {
		for _, id := range f.Names {
			names[id.Name] = true
			names[of+"."+id.Name] = true
		}
		if len(f.Names) == 0 {
			typ := f.Type
			if star, ok := typ.(*ast.StarExpr); ok {
				typ = star.X
			}
			if id, ok := typ.(*ast.Ident); ok {
				embedded[of] = append(embedded[of], id.Name)
			}
		}
	}
}
