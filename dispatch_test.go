package discoro_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"testing"
)

// TestDispatchNamesAllFrames compares the switch of dispatch.go with the frames of package wire: a
// frame that has no case there would be dropped silently.
func TestDispatchNamesAllFrames(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("wire/*.go")
	if err != nil {
		t.Fatal(err)
	}
	frames := map[string]bool{} // the types that have a method Kind
	for _, f := range files {
		for _, d := range parseGo(t, f).Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == "Kind" && returnsKind(fn) {
				if p, ok := fn.Recv.List[0].Type.(*ast.StarExpr); ok {
					frames[p.X.(*ast.Ident).Name] = true
				}
			}
		}
	}
	cases := map[string]int{}
	for _, d := range parseGo(t, "dispatch.go").Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == "dispatch" {
			countCases(fn, cases)
		}
	}
	if len(frames) < 40 || len(cases) < 40 {
		t.Fatalf("%d frames and %d cases were found", len(frames), len(cases))
	}
	for _, name := range slices.Sorted(maps.Keys(frames)) {
		if cases[name] != 1 {
			t.Errorf("dispatch has %d cases for *wire.%s, want 1", cases[name], name)
		}
	}
}

// returnsKind reports whether fn returns a Kind of frame.
func returnsKind(fn *ast.FuncDecl) bool {
	r := fn.Type.Results
	if r == nil || len(r.List) != 1 {
		return false
	}
	id, ok := r.List[0].Type.(*ast.Ident)
	return ok && id.Name == "Kind"
}

func parseGo(t *testing.T, name string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// countCases counts the types of package wire that fn's switch has cases for.
func countCases(fn *ast.FuncDecl, cases map[string]int) {
	ast.Inspect(fn, func(n ast.Node) bool {
		c, ok := n.(*ast.CaseClause)
		if !ok {
			return true
		}
		for _, e := range c.List {
			if p, ok := e.(*ast.StarExpr); ok {
				if s, ok := p.X.(*ast.SelectorExpr); ok {
					cases[s.Sel.Name]++
				}
			}
		}
		return true
	})
}
