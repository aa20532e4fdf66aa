package discoro_test

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
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
