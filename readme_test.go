package discoro_test

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestReadmeProgram holds README's program to the one in example_test.go, which is run: the same declarations, and a main that
// does what Example does.
func TestReadmeProgram(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(readme), "```go\n")
	program, _, found := strings.Cut(program, "```\n")
	if !found {
		t.Fatal("README.md has no Go program")
	}
	tested, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	want := declarations(t, "example_test.go", tested)
	for name, got := range declarations(t, "README.md", []byte(program)) {
		if name == "main" {
			name = "Example"
		}
		if w := want[name]; !slices.Equal(strings.Fields(w), strings.Fields(got)) { // blank lines are where comments were
			t.Errorf("%s in README.md:\n%s\nin example_test.go:\n%s", name, got, w)
		}
	}
}

// TestPrintedPrograms builds and runs the program in README, and the one in the comment of the package, as they stand.
func TestPrintedPrograms(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ begin, end, margin, want string }{
		"README.md": {begin: "```go\n", end: "```\n", want: "[6 4] <nil>\n"},
		"doc.go":    {begin: "\n//\n//\tpackage", end: "\n//\n// ", margin: "//\t", want: "[2 4] <nil>\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(string(text), tt.begin)
			rest, _, found := strings.Cut(rest, tt.end)
			if !found {
				t.Fatalf("no program between %q and %q", tt.begin, tt.end)
			}
			var program strings.Builder
			if tt.margin != "" {
				program.WriteString("package")
			}
			for line := range strings.Lines(rest) {
				if line == "//\n" {
					line = "\n"
				}
				program.WriteString(strings.TrimPrefix(line, tt.margin))
			}
			file := filepath.Join(t.TempDir(), "main.go")
			if err := os.WriteFile(file, []byte(program.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, log strings.Builder
			cmd := exec.CommandContext(t.Context(), "go", "run", file)
			cmd.Stdout, cmd.Stderr = &out, &log
			if err := cmd.Run(); err != nil || out.String() != tt.want {
				t.Errorf("it prints %q, want %q: %v\n%s\n%s", out.String(), tt.want, err, log.String(), program.String())
			}
		})
	}
}

// declarations returns the text of each declaration of a file, of functions the bodies, by name.
func declarations(t *testing.T, name string, src []byte) map[string]string {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	decls := map[string]string{}
	for _, decl := range file.Decls {
		var text bytes.Buffer
		key, node := "", ast.Node(decl)
		switch d := decl.(type) {
		case *ast.FuncDecl:
			key, node = d.Name.Name, d.Body
		case *ast.GenDecl:
			switch spec := d.Specs[0].(type) {
			case *ast.ImportSpec:
				continue
			case *ast.TypeSpec:
				key = spec.Name.Name
			case *ast.ValueSpec:
				key = spec.Names[0].Name
			}
		}
		if err := format.Node(&text, fset, node); err != nil {
			t.Fatal(err)
		}
		decls[key] = text.String()
	}
	return decls
}
